"""The encoder, the task models, and loading and saving them."""

from flax_lite.models.encoder import Encoder
from flax_lite.models.heads import (
    MaskedLM,
    MultipleChoice,
    PreTraining,
    QuestionAnswering,
    SequenceClassification,
    TokenClassification,
)
from flax_lite.models.outputs import (
    ClassifierOutput,
    EncoderOutput,
    MaskedLMOutput,
    ModelOutput,
    PreTrainingOutput,
    QuestionAnsweringOutput,
)
from flax_lite.models.params import get_params, num_parameters, tree_shardings, with_params

__all__ = [
    "ClassifierOutput",
    "Encoder",
    "EncoderOutput",
    "MaskedLM",
    "MaskedLMOutput",
    "ModelOutput",
    "MultipleChoice",
    "PreTraining",
    "PreTrainingOutput",
    "QuestionAnswering",
    "QuestionAnsweringOutput",
    "SequenceClassification",
    "TokenClassification",
    "get_params",
    "num_parameters",
    "tree_shardings",
    "with_params",
]
