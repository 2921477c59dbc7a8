"""A model for a task, of whose head every parameter was trained."""

from collections.abc import Sequence
from typing import Any

from flax import nnx, traverse_util

from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.sources.opening import Source, open_source
from flax_lite.layers.execution import Execution
from flax_lite.models.contents import part, survey
from flax_lite.models.encoder import Encoder
from flax_lite.models.pretrained import architecture
from flax_lite.models.state import abstract_params
from flax_lite.question_answering.beam import BeamQuestionAnswering

# Heads of this name mean something else in every task.
_AMBIGUOUS_HEAD = "classifier"


def load_for_task(source: Source, task: str, models: Sequence[Any], execution: Execution | None) -> Any:
    """The model; heads of other tasks are left out. An Encoder has none, and needs no pooler.

    Args:
        source: any SOURCE.
        task: of the pipeline.
        models: those that compute it: the first, but one with a beam head where the checkpoint has that.
        execution: how to compute.

    Raises:
        ValueError: if the checkpoint lacks the task's head, or as `from_pretrained`.
    """
    model_class = models[0]
    if model_class is not Encoder:
        checkpoint = open_source(source)
        if BeamQuestionAnswering in models and checkpoint.beam_head is not None:
            model_class = BeamQuestionAnswering
        else:
            check_trained(checkpoint, task, model_class)
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
