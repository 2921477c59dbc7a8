"""Models of a task: their classes, the task of a model, and loading with a trained head."""

from typing import Any

from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.sources.resolve import Source, open_source
from flax_lite.layers.execution import Execution
from flax_lite.models.contents import check_trained, model_class
from flax_lite.models.encoder import Encoder
from flax_lite.models.heads import PreTraining
from flax_lite.models.pretrained import architecture
from flax_lite.models.tasks import PIPELINES, TASKS
from flax_lite.question_answering.beam import BeamQuestionAnswering
from flax_lite.question_answering.beam_files import open_head

# Models that a task accepts in addition to the one in the table of tasks.
_OTHER_MODELS = {"fill-mask": (PreTraining,), "question-answering": (BeamQuestionAnswering,)}


def models_for(task: str) -> tuple[type[Any], ...]:
    """Returns the model classes that a task accepts; the first is the one to load."""
    return (*(model_class(row) for row in TASKS if task in row.pipelines), *_OTHER_MODELS.get(task, ()))


def infer_task(model: Any) -> str:
    """Returns the task of a model; for an encoder without a head "feature-extraction", as in transformers.

    Args:
        model: a model object, or a checkpoint, whose task is that of its head for SQuAD 2 or of the `architectures` in
            config.json.

    Raises:
        ValueError: if no task takes such a model, or config.json does not say what it is.
    """
    found = [task for task in PIPELINES if any(_is(model, one) for one in models_for(task))]
    with_head = [task for task in found if Encoder not in models_for(task)]
    if with_head:
        return with_head[0]
    if found:
        return "feature-extraction"
    if isinstance(model, Checkpoint):
        kind = f"a model whose config.json names {', '.join(model.config.architectures) or 'no architectures'}"
        raise ValueError(f"the task of {model.path}, {kind}, is not known: give one of {', '.join(PIPELINES)}")
    raise ValueError(f"no task takes a {type(model).__name__}")


def _is(model: Any, wanted: type[Any]) -> bool:
    """Returns whether a model object, or the model in a checkpoint, is of a class."""
    if not isinstance(model, Checkpoint):
        return isinstance(model, wanted)
    if wanted is BeamQuestionAnswering:
        return open_head(model) is not None
    return architecture(wanted, model.config) in model.config.architectures


def load_for_task(source: Source | Checkpoint, task: str, execution: Execution | None) -> Any:
    """Loads the model of a task; heads of other tasks are ignored. An Encoder has no head and needs no pooler.

    Args:
        source: any SOURCE.
        task: the task of the pipeline.
        execution: the execution config.

    Raises:
        ValueError: if the checkpoint lacks the task's head, or as `from_pretrained`.
    """
    models = models_for(task)
    wanted = models[0]
    checkpoint = open_source(source)
    if wanted is not Encoder:
        if BeamQuestionAnswering in models and open_head(checkpoint) is not None:
            wanted = BeamQuestionAnswering
        else:
            check_trained(checkpoint, task, wanted)
    return wanted.from_pretrained(checkpoint, execution=execution)
