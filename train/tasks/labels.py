"""What a checkpoint's labels mean, held against a task's."""

from flax_lite.checkpoints.sources import open_source
from train.errors import UserError
from train.tasks.task import Task


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
