"""flax_lite: compact BERT-family encoders in JAX.

Shape letters, here and in every docstring: B batch, T query tokens, S key tokens, D model width, E embedding width, N
heads, H head width, F feed-forward width, V vocabulary, P masked positions.

Importing this package registers the families. Modules that need JAX are imported on first use, so that
`import flax_lite` is cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import load_config, preset
from flax_lite.families import AlbertConfig, BertConfig, DistilBertConfig

if TYPE_CHECKING:
    from flax_lite.layers.execution import Execution
    from flax_lite.models.encoder import Encoder
    from flax_lite.models.heads import (
        MaskedLM,
        MultipleChoice,
        PreTraining,
        QuestionAnswering,
        SequenceClassification,
        TokenClassification,
    )
    from flax_lite.models.params import get_params, num_parameters, with_params
    from flax_lite.pipelines import pipeline
    from flax_lite.question_answering.beam import BeamQuestionAnswering
    from flax_lite.tokenization import Tokenizer, load_tokenizer, parse_tokenizer_spec, train_tokenizer

_MODULES = {
    "flax_lite.question_answering.beam": ("BeamQuestionAnswering",),
    "flax_lite.layers.execution": ("Execution",),
    "flax_lite.models.encoder": ("Encoder",),
    "flax_lite.models.heads": (
        "MaskedLM",
        "MultipleChoice",
        "PreTraining",
        "QuestionAnswering",
        "SequenceClassification",
        "TokenClassification",
    ),
    "flax_lite.pipelines": ("pipeline",),
    "flax_lite.models.params": ("get_params", "num_parameters", "with_params"),
    "flax_lite.tokenization": ("Tokenizer", "load_tokenizer", "parse_tokenizer_spec", "train_tokenizer"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "AlbertConfig",
    "BeamQuestionAnswering",
    "BertConfig",
    "DistilBertConfig",
    "Encoder",
    "EncoderConfig",
    "Execution",
    "MaskedLM",
    "MultipleChoice",
    "PreTraining",
    "QuestionAnswering",
    "SequenceClassification",
    "TokenClassification",
    "Tokenizer",
    "get_params",
    "load_config",
    "load_tokenizer",
    "num_parameters",
    "parse_tokenizer_spec",
    "pipeline",
    "preset",
    "train_tokenizer",
    "with_params",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'flax_lite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
