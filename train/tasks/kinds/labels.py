"""What a checkpoint has learnt, held against a task: the meaning of its labels, and whether it has a head."""

from flax_lite.checkpoints.sources.opening import open_source
from flax_lite.models.encoder import Encoder
from flax_lite.pipelines.loading import check_trained
from flax_lite.question_answering.beam import BeamQuestionAnswering
from train.errors import UserError
from train.tasks.kinds.task import Task


def check_labels(source: str, task: Task, cure: str) -> None:
    """Sees to it that a checkpoint with a head for this kind of task means the task's labels; unnamed ones may.

    Args:
        source: the checkpoint.
        task: the task.
        cure: the end of the message.

    Raises:
        UserError: if it cannot be read, or means others.
    """
    try:
        theirs = open_source(source).config
    except (ValueError, OSError) as error:
        raise UserError(f"{source}: {error}") from error
    ours = task.data.labels
    has_head = bool(task.data.labels) and set(task.architectures(theirs)) <= set(theirs.architectures)
    unnamed = theirs.labels == tuple(f"LABEL_{index}" for index in range(len(ours)))
    if has_head and ours and not unnamed and theirs.labels != ours:
        raise UserError(f"{source} knows the labels {', '.join(theirs.labels)}, the task has {', '.join(ours)}. {cure}")


def check_head(source: str, task: Task) -> None:
    """Sees to it that a checkpoint has learnt this kind of task: the head would be drawn at random otherwise.

    Raises:
        UserError: if it cannot be read, or lacks a part of the task's head.
    """
    try:
        checkpoint = open_source(source)
        if task.model_class is BeamQuestionAnswering:
            if checkpoint.beam_head is None:
                raise ValueError(f"{checkpoint.path} has no beam head beside it: give answers.head=simple, or another")
        elif task.model_class is not Encoder:
            check_trained(checkpoint, task.data.kind, task.model_class)
    except (ValueError, OSError) as error:
        raise UserError(f"{source}: {error}") from error
