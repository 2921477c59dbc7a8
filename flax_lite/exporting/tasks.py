"""The interface of an exported model: its task, batch sizes, inputs and outputs."""

import dataclasses
from typing import Any

from flax_lite.architecture.config import EncoderConfig
from flax_lite.models.contents import model_class
from flax_lite.models.pretrained import architecture
from flax_lite.models.tasks import EXPORTS, Task


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The batch size and the number of tokens in a row of an exported program; None leaves a size open."""

    batch: int | None = None
    length: int | None = None

    def check(self, config: EncoderConfig) -> None:
        """Raises ValueError if a size is invalid for a model of this config."""
        limit = config.max_position_embeddings
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch={self.batch}; expected at least 1, or None to leave it open")
        if self.length is not None and not 1 <= self.length <= limit:
            raise ValueError(
                f"length={self.length}; expected 1 to max_position_embeddings={limit}, or None to leave it open"
            )


def choose_task(config: EncoderConfig, name: str | None) -> Task:
    """Returns the task with this name, or the one that the config's `architectures` names if `name` is None.

    Raises:
        ValueError: if the name is unknown, or `architectures` does not name exactly one task.
    """
    trained = [task for task in EXPORTS.values() if architecture(model_class(task), config) in config.architectures]
    if name is None:
        if len(trained) != 1:
            raise ValueError(
                f"config.json has architectures: {', '.join(config.architectures) or 'nothing'}, which does not name "
                f"exactly one task to export; give a task: {', '.join(EXPORTS)}"
            )
        return trained[0]
    if name not in EXPORTS:
        raise ValueError(f"task {name!r} is not known; choose from {', '.join(EXPORTS)}")
    return EXPORTS[name]


def task_of(model: Any) -> Task:
    """Returns the task of a model.

    Raises:
        ValueError: if the model has no task that can be exported.
    """
    for task in EXPORTS.values():
        if isinstance(model, model_class(task)):
            return task
    exported = ", ".join(task.model for task in EXPORTS.values())
    raise ValueError(f"{type(model).__name__} cannot be exported; {exported} can")


def input_names(config: EncoderConfig) -> tuple[str, ...]:
    """Returns the names of the inputs of an exported model, each [batch, length]."""
    types = ("token_type_ids",) if config.type_vocab_size else ()
    return ("input_ids", "attention_mask", *types)


def outputs_of(model: Any) -> dict[str, tuple[str, ...]]:
    """Returns the outputs of a model as axes by name; pooler_output only if the model has a pooler."""
    has_pooler = getattr(model, "has_pooler", False)
    axes = task_of(model).outputs
    return {name: axes[name] for name in axes if name != "pooler_output" or has_pooler}
