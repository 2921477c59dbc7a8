"""flax_lite: compact BERT-family encoders in JAX.

Shape letters, here and in every docstring: B batch, T query tokens, S key tokens, D model width, E embedding width, N
heads, H head width, F feed-forward width, V vocabulary, P masked positions.

Names below are imported on first use, so that `import flax_lite` costs nothing that is not needed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flax_lite.albert import AlbertConfig
    from flax_lite.beam_answers import BeamQuestionAnswering
    from flax_lite.bert import BertConfig
    from flax_lite.config import EncoderConfig, load_config, preset
    from flax_lite.distilbert import DistilBertConfig
    from flax_lite.encoder import Encoder
    from flax_lite.execution import Execution
    from flax_lite.heads import (
        MaskedLM,
        MultipleChoice,
        PreTraining,
        QuestionAnswering,
        SequenceClassification,
        TokenClassification,
    )
    from flax_lite.pipelines import pipeline
    from flax_lite.state import get_params, num_parameters, with_params
    from flax_lite.tokenization import Tokenizer, load_tokenizer, parse_tokenizer_spec, train_tokenizer

_MODULES = {
    "flax_lite.albert": ("AlbertConfig",),
    "flax_lite.beam_answers": ("BeamQuestionAnswering",),
    "flax_lite.bert": ("BertConfig",),
    "flax_lite.distilbert": ("DistilBertConfig",),
    "flax_lite.config": ("EncoderConfig", "load_config", "preset"),
    "flax_lite.execution": ("Execution",),
    "flax_lite.encoder": ("Encoder",),
    "flax_lite.heads": (
        "MaskedLM",
        "MultipleChoice",
        "PreTraining",
        "QuestionAnswering",
        "SequenceClassification",
        "TokenClassification",
    ),
    "flax_lite.pipelines": ("pipeline",),
    "flax_lite.state": ("get_params", "num_parameters", "with_params"),
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
