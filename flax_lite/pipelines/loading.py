"""Loads a model for a task, with a trained head."""

from collections.abc import Sequence
from typing import Any

from flax_lite.checkpoints.sources.resolve import Source, open_source
from flax_lite.layers.execution import Execution
from flax_lite.models.contents import check_trained
from flax_lite.models.encoder import Encoder
from flax_lite.question_answering.beam import BeamQuestionAnswering
from flax_lite.question_answering.beam_files import open_head


def load_for_task(source: Source, task: str, models: Sequence[Any], execution: Execution | None) -> Any:
    """Loads the model of a task; heads of other tasks are ignored. An Encoder has no head and needs no pooler.

    Args:
        source: any SOURCE.
        task: the task of the pipeline.
        models: model classes of the task. The first is loaded, or BeamQuestionAnswering if it is among them and the
            checkpoint has a beam head.
        execution: the execution config.

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
