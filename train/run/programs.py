"""The programs that a run compiles: the training step with its shardings, and steps for each shape of batch."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from flax_lite.models.params import tree_shardings
from train.machine.stopping import hearing
from train.run.job import Job, State


def abstract_state(job: Job, mesh: Mesh) -> tuple[State, Any]:
    """Shapes and dtypes of a job's state with their shardings on a mesh, and the shardings alone."""
    shapes = jax.eval_shape(job.init_state, jax.random.key(0))
    shardings = tree_shardings(shapes, mesh)
    return placed(shapes, shardings), shardings


def placed(shapes: Any, shardings: Any) -> Any:
    """Shapes and dtypes with a sharding each."""
    return jax.tree.map(_with_sharding, shapes, shardings)


def jitted_step(job: Job, shardings: Any, mesh: Mesh) -> Any:
    """The job's training step, to be lowered: the state stays where it is, the metrics are on every device."""
    outputs = (shardings, NamedSharding(mesh, PartitionSpec()))
    return jax.jit(hearing(job.train_step), donate_argnums=0, out_shardings=outputs)


def _with_sharding(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


Batch = Mapping[str, jax.Array]


class ByShape:
    """Calls a step of (first, batch, *constants), compiled once for each shape of batch, when it first comes.

    Args:
      compile_step: (first, batch, *constants), abstract or not, to the compiled step.
      first: shapes and shardings of what stands before the batch: a train state, or parameters.
      constants: what stands behind it.
    """

    def __init__(self, compile_step: Callable[..., Callable[..., Any]], first: Any, constants: tuple[Any, ...]) -> None:
        self._compile_step, self._first, self._constants = compile_step, first, constants
        self._compiled: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def compile(self, batch: Batch) -> Callable[..., Any]:
        """The step for batches of this shape."""
        key = tuple(sorted((name, array.shape, str(array.dtype)) for name, array in batch.items()))
        if key not in self._compiled:
            self._compiled[key] = self._compile_step(self._first, batch, *self._constants)
        return self._compiled[key]

    def __call__(self, first: Any, batch: Batch) -> Any:
        """Takes the step."""
        return self.compile(batch)(first, batch, *self._constants)
