"""What can be exported: tasks by Hugging Face's names, their inputs and outputs, and the sizes of a batch."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax_lite.architecture.config import EncoderConfig
from flax_lite.models import heads
from flax_lite.models.encoder import Encoder
from flax_lite.models.pretrained import architecture

# Axes that a batch decides on; the others are named by the field of the config that holds their size.
BATCH, LENGTH = "batch", "length"


@dataclasses.dataclass(frozen=True)
class Task:
    """A task that a model is exported for.

    Attributes:
        name: as in Hugging Face's optimum.
        model: the class that computes it.
        outputs: fields of the model's output, and their axes.
    """

    name: str
    model: Any
    outputs: Mapping[str, tuple[str, ...]]


_TOKEN_LOGITS = (BATCH, LENGTH)
TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            "feature-extraction",
            Encoder,
            {"last_hidden_state": (BATCH, LENGTH, "hidden_size"), "pooler_output": (BATCH, "hidden_size")},
        ),
        Task("fill-mask", heads.MaskedLM, {"logits": (BATCH, LENGTH, "vocab_size")}),
        Task("text-classification", heads.SequenceClassification, {"logits": (BATCH, "num_labels")}),
        Task("token-classification", heads.TokenClassification, {"logits": (BATCH, LENGTH, "num_labels")}),
        Task(
            "question-answering", heads.QuestionAnswering, {"start_logits": _TOKEN_LOGITS, "end_logits": _TOKEN_LOGITS}
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The batch size and the number of tokens in a row that a program takes; None leaves one open."""

    batch: int | None = None
    length: int | None = None

    def check(self, config: EncoderConfig) -> None:
        """Raises ValueError for a size that no batch of this model has."""
        limit = config.max_position_embeddings
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch={self.batch}, expected at least 1, or none to leave it open")
        if self.length is not None and not 1 <= self.length <= limit:
            raise ValueError(
                f"length={self.length}, expected 1 to max_position_embeddings={limit}, or none to leave it open"
            )


def choose_task(config: EncoderConfig, name: str | None) -> Task:
    """The task of a name, or the one that the config's `architectures` names.

    Raises:
        ValueError: if there is no such task, or `architectures` names none or several.
    """
    trained = [task for task in TASKS.values() if architecture(task.model, config) in config.architectures]
    said = f"config.json says architectures: {', '.join(config.architectures) or 'nothing'}"
    if name is None:
        if len(trained) != 1:
            raise ValueError(f"{said}, which is none of the tasks to export; name one: {', '.join(TASKS)}")
        return trained[0]
    if name not in TASKS:
        raise ValueError(f"task {name!r} is not known; choose from {', '.join(TASKS)}")
    return TASKS[name]


def task_of(model: Any) -> Task:
    """The task that a model computes.

    Raises:
        ValueError: if it is none that can be exported.
    """
    for task in TASKS.values():
        if isinstance(model, task.model):
            return task
    exported = ", ".join(task.model.__name__ for task in TASKS.values())
    raise ValueError(f"{type(model).__name__} cannot be exported; {exported} can")


def input_names(config: EncoderConfig) -> tuple[str, ...]:
    """The inputs of an exported model, each [batch, length]."""
    types = ("token_type_ids",) if config.type_vocab_size else ()
    return ("input_ids", "attention_mask", *types)


def outputs_of(model: Any) -> dict[str, tuple[str, ...]]:
    """The outputs of a model by name, and their axes; a pooled one only where the model has a pooler."""
    has_pooler = getattr(model, "has_pooler", False)
    axes = task_of(model).outputs
    return {name: axes[name] for name in axes if name != "pooler_output" or has_pooler}
