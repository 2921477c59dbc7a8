"""Contents of a checkpoint: all of its parameters, with any heads, and which tasks it was trained for."""

import dataclasses
import functools
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util

from flax_lite import models
from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import weight_table
from flax_lite.checkpoints.accounting import Rules, Shapes
from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.engine import Loaded, check_family, load_parameters, settle_positions
from flax_lite.checkpoints.expected import expected_tensors, find_expected, is_buffer
from flax_lite.checkpoints.formats.tensors import FLOATS
from flax_lite.models.params import abstract_params
from flax_lite.models.pretrained import architecture
from flax_lite.models.tasks import TASKS, Task

# A head of this name has a different meaning in each task.
AMBIGUOUS_HEAD = "classifier"


@dataclasses.dataclass(frozen=True)
class Contents:
    """Architecture, parameters and heads of a checkpoint.

    Attributes:
        config: its architecture.
        target: shape and dtype of every parameter, by path; without heads, paths are those of an Encoder.
        heads: names of the heads, including "pooler": the first part of their parameters' paths.
    """

    config: EncoderConfig
    target: Shapes
    heads: tuple[str, ...]

    def describe(self) -> str:
        """Returns one line with family, depth, width, heads and number of parameters."""
        count = sum(math.prod(leaf.shape) for leaf in self.target.values())
        config = self.config
        return (
            f"{weight_table(config).family}, {config.num_hidden_layers} layers of width {config.hidden_size}, "
            f"heads: {', '.join(self.heads) or 'none'}, {count:,} parameters"
        )


def survey(checkpoint: Checkpoint) -> Contents:
    """Returns the contents of a checkpoint without reading its values (except a sinusoidal model's positions).

    Raises:
        ValueError: if none of its tensors belongs to the family.
    """
    try:
        check_family(checkpoint.tensors.keys(), checkpoint.convention, weight_table(checkpoint.config))
    except ValueError as error:
        raise ValueError(f"{checkpoint.path}: {error}") from None
    config = settle_positions(checkpoint.tensors, checkpoint.convention, checkpoint.config)
    shapes = all_parameters(config)
    dtypes = _dtypes_found(checkpoint, config, shapes)
    parts = {part(path) for path in dtypes} - {None}
    widest = {path: functools.reduce(jnp.promote_types, found) for path, found in dtypes.items()}
    default = next(iter(widest.values()), np.dtype(np.float32))
    held = {
        path: jax.ShapeDtypeStruct(leaf.shape, widest.get(path, default))
        for path, leaf in shapes.items()
        if part(path) is None or part(path) in parts
    }
    if not parts - {"pooler"}:
        held = {path.removeprefix("encoder/"): leaf for path, leaf in held.items()}
    return Contents(config, held, tuple(sorted(part for part in parts if part)))


def unaccounted(checkpoint: Checkpoint, contents: Contents) -> tuple[list[str], list[str], list[str]]:
    """Returns unknown tensors, parameters without a tensor, and tensors of a wrong shape."""
    table, target = weight_table(contents.config), contents.target
    expected = expected_tensors(table, contents.config, checkpoint.convention, target.keys())
    found = {name: find_expected(name, expected, table, checkpoint.convention) for name in checkpoint.tensors}
    filled = {(tensor.path, tensor.index) for tensor in found.values() if tensor is not None}
    unknown = [name for name, tensor in found.items() if tensor is None and not is_buffer(name, table)]
    wanted = [
        tensor for tensor in expected.values() if tensor.is_parameter and (tensor.path, tensor.index) not in filled
    ]
    values = {name: tensor for name, tensor in found.items() if tensor is not None and tensor.role == "value"}
    shapes = {name: tensor.stored_shape(target[tensor.path].shape) for name, tensor in values.items()}
    tensors = checkpoint.tensors
    other = [f"{name} {list(tensors[name].shape)}" for name, shape in shapes.items() if tensors[name].shape != shape]
    missing = [tensor.label for tensor in wanted if tensor.part != "pooler" or "pooler" in contents.heads]
    return unknown, missing, other


def read_whole(checkpoint: Checkpoint, contents: Contents) -> Loaded:
    """Reads all parameters of a checkpoint, in the dtypes of `contents.target`.

    Raises:
        ValueError: listing everything missing, unmapped, doubled or mis-shaped.
    """
    rules = Rules(complete=True)
    return load_parameters(
        checkpoint.tensors, checkpoint.convention, contents.config, contents.target, rules, lambda paths: {}
    )


@functools.cache  # each task model is traced
def all_parameters(config: EncoderConfig) -> Mapping[str, jax.ShapeDtypeStruct]:
    """Returns every parameter of any task model of this config, by path.

    Several tasks have a head called `classifier`: it has the shape for the task in `architectures`, if any.
    """
    tasks = [task for task in map(model_class, TASKS) if task is not models.Encoder]
    tasks = [task for task in tasks if config.has_pooler or task is not models.PreTraining]
    tasks.sort(key=lambda task: architecture(task, config) not in config.architectures)
    shapes: dict[str, Any] = {}
    for task in tasks:
        params = abstract_params(lambda task=task: task(config, rngs=nnx.Rngs(0)))
        shapes = {**traverse_util.flatten_dict(params, sep="/"), **shapes}
    return shapes


def _dtypes_found(checkpoint: Checkpoint, config: EncoderConfig, shapes: Shapes) -> Mapping[str, set[np.dtype]]:
    table = weight_table(config)
    expected = expected_tensors(table, config, checkpoint.convention, shapes.keys())
    found: dict[str, set[np.dtype]] = defaultdict(set)
    for name, stored in checkpoint.tensors.items():
        tensor = find_expected(name, expected, table, checkpoint.convention)
        if tensor is not None and tensor.role in ("value", "copy"):
            found[tensor.path].add(FLOATS.get(stored.dtype, np.dtype(np.float32)))
    return found


def model_class(task: Task) -> Any:
    """Returns the model class of a task."""
    return getattr(models, task.model)


def part(path: str) -> str | None:
    """Returns the head or "pooler" that a parameter of a task model belongs to; None for the rest of the encoder."""
    if path.startswith("encoder/pooler/"):
        return "pooler"
    return None if path.startswith("encoder/") else path.partition("/")[0]


def check_trained(checkpoint: Checkpoint, task: str, model_class: Any) -> None:
    """Raises ValueError if the checkpoint has no trained head for the task."""
    contents = survey(checkpoint)
    params = abstract_params(lambda: model_class(contents.config, rngs=nnx.Rngs(0)))
    needed = {part(path) for path in traverse_util.flatten_dict(params, sep="/")} - {None}
    trained = contents.config.architectures
    is_other = AMBIGUOUS_HEAD in needed and trained and architecture(model_class, contents.config) not in trained
    missing = needed - set(contents.heads)
    if is_other or missing:
        lacks = "of another task" if is_other else f"without {', '.join(sorted(map(str, missing)))}"
        raise ValueError(
            f"{checkpoint.path} cannot be used for {task}: it is a model {lacks} "
            f"(architectures: {', '.join(trained) or 'not given'}; heads: {', '.join(contents.heads) or 'none'}); "
            "use one that was trained for it, or fine-tune this one first"
        )
