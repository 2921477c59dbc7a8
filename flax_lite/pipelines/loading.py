"""A model for a task, of whose head every parameter was trained."""

from collections.abc import Sequence
from typing import Any

from flax_lite.checkpoints.sources.resolve import Source, open_source
from flax_lite.layers.execution import Execution
from flax_lite.models.contents import check_trained
from flax_lite.models.encoder import Encoder
from flax_lite.question_answering.beam import BeamQuestionAnswering
from flax_lite.question_answering.beam_files import open_head


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
    checkpoint = open_source(source)
    if model_class is not Encoder:
        if BeamQuestionAnswering in models and open_head(checkpoint) is not None:
            model_class = BeamQuestionAnswering
        else:
            check_trained(checkpoint, task, model_class)
    return model_class.from_pretrained(checkpoint, execution=execution)
