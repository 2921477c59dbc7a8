"""A model for a task, of whose head every parameter was trained."""

from typing import Any

from flax import nnx, traverse_util

from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.conversion import part, survey
from flax_lite.checkpoints.sources import Source, open_source
from flax_lite.encoder import Encoder
from flax_lite.execution import Execution
from flax_lite.pretrained import architecture
from flax_lite.state import abstract_params

# Heads of this name mean something else in every task.
_AMBIGUOUS_HEAD = "classifier"


def load_for_task(source: Source, task: str, model_class: Any, execution: Execution | None) -> Any:
    """The model; heads of other tasks are left out. An Encoder has none, and needs no pooler.

    Raises:
        ValueError: if the checkpoint lacks the task's head, or as `from_pretrained`.
    """
    if model_class is not Encoder:
        check_trained(open_source(source), task, model_class)
    return model_class.from_pretrained(source, execution=execution)


def check_trained(checkpoint: Checkpoint, task: str, model_class: Any) -> None:
    """Raises ValueError if the checkpoint holds no head for the task."""
    contents = survey(checkpoint)
    params = abstract_params(lambda: model_class(contents.config, rngs=nnx.Rngs(0)))
    needed = {part(path) for path in traverse_util.flatten_dict(params, sep="/")} - {None}
    trained = contents.config.architectures
    is_other = _AMBIGUOUS_HEAD in needed and trained and architecture(model_class, contents.config) not in trained
    missing = needed - set(contents.heads)
    if is_other or missing:
        lacks = "of another task" if is_other else f"without {', '.join(sorted(map(str, missing)))}"
        raise ValueError(
            f"{checkpoint.path} cannot be used for {task}: it is a model {lacks} "
            f"(architectures: {', '.join(trained) or 'not said'}; heads: {', '.join(contents.heads) or 'none'}); "
            "give one that was trained for it, or fine-tune this one first"
        )
