"""Loads a model for export: every parameter comes from the checkpoint, none is initialized."""

import logging
from collections.abc import Collection
from typing import Any

import jax
from flax import nnx, traverse_util

from flax_lite.checkpoints.accounting import Rules
from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.engine import load_parameters
from flax_lite.checkpoints.formats.tensors import FLOATS
from flax_lite.layers.execution import Execution
from flax_lite.models.contents import AMBIGUOUS_HEAD, model_class, survey
from flax_lite.models.params import abstract_params, with_params
from flax_lite.models.pretrained import architecture
from flax_lite.models.tasks import Task

logger = logging.getLogger("flax_lite")


def load_for_export(checkpoint: Checkpoint, task: Task, execution: Execution) -> Any:
    """Loads the model of a task, with parameters in the compute dtype; heads of other tasks are ignored.

    If the checkpoint has no pooler, an Encoder is created without one, because the output of an untrained pooler has no
    meaning.

    Args:
        checkpoint: the checkpoint to read.
        task: the task of the exported model.
        execution: the execution config; its dtype is also that of the parameters.

    Raises:
        ValueError: if the checkpoint lacks a parameter, such as those of the task's head, or as `from_pretrained`.
    """
    contents = survey(checkpoint)
    config = contents.config
    options = {"add_pooler": "pooler" in contents.heads} if task.model == "Encoder" else {}

    def create() -> nnx.Module:
        return model_class(task)(config, rngs=nnx.Rngs(0), execution=execution, **options)

    dtype = FLOATS[execution.dtype]
    shapes: dict[str, Any] = traverse_util.flatten_dict(abstract_params(create), sep="/")
    _check_head(checkpoint, task, shapes)
    target = {path: jax.ShapeDtypeStruct(value.shape, dtype) for path, value in shapes.items()}
    rules = Rules(complete=True)
    try:
        loaded = load_parameters(checkpoint.tensors, checkpoint.convention, config, target, rules, lambda paths: {})
    except ValueError as error:
        raise ValueError(f"{checkpoint.path} cannot be exported for {task.export}:\n{error}") from None
    for remark in loaded.remarks:
        logger.warning("%s: %s", checkpoint.path, remark)
    structure = nnx.graphdef(nnx.eval_shape(create))
    return with_params(structure, traverse_util.unflatten_dict(loaded.params, sep="/"))


def _check_head(checkpoint: Checkpoint, task: Task, shapes: Collection[str]) -> None:
    """Raises ValueError if the classifier was trained for another task: it would load, with labels of that task."""
    trained = checkpoint.config.architectures
    has_classifier = any(path.startswith(AMBIGUOUS_HEAD) for path in shapes)
    if has_classifier and trained and architecture(model_class(task), checkpoint.config) not in trained:
        raise ValueError(
            f"{checkpoint.path} was trained as {', '.join(trained)}: it holds no head for {task.export}; "
            "export it for its own task, or for feature-extraction, or fine-tune it first"
        )
