"""The compiled programs of a run: training step, evaluation step, and the check for finite parameters."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from flax_lite.models.params import tree_shardings
from train.errors import UserError
from train.machine.mesh import on_whole_parameters, put_batch
from train.machine.stopping import Stop, with_stop_flag
from train.run.checkpoints import all_finite
from train.run.job import Batch, Job, Params, State
from train.run.metrics import Clock
from train.run.progress import Progress

DeviceBatch = Mapping[str, jax.Array]


def abstract_state(job: Job, mesh: Mesh) -> tuple[State, Any]:
    """Returns a job's state as ShapeDtypeStructs with shardings on a mesh, and the shardings alone."""
    shapes = jax.eval_shape(job.init_state, jax.random.key(0))
    shardings = tree_shardings(shapes, mesh)
    return with_shardings(shapes, shardings), shardings


def with_shardings(shapes: Any, shardings: Any) -> Any:
    """Adds a sharding to each ShapeDtypeStruct of a tree."""
    return jax.tree.map(lambda leaf, sharding: leaf.update(sharding=sharding), shapes, shardings)


def jitted_step(job: Job, shardings: Any, mesh: Mesh) -> Any:
    """Returns the job's jitted training step: (state, batch, *constants) -> (state, metrics).

    The state is donated, so that only one copy is on the devices. Its shardings are the same before and after, because
    the next call would otherwise be another program. The metrics are replicated, because every host reads them.
    """
    outputs = (shardings, NamedSharding(mesh, PartitionSpec()))
    return jax.jit(with_stop_flag(job.train_step), donate_argnums=0, out_shardings=outputs)


class CompiledByShape:
    """A step (first, batch, *constants), compiled once per shape of batch, when that shape first occurs.

    Args:
      compile_step: compiles the step for (first, batch, *constants), abstract or not.
      first: the argument before the batch, as ShapeDtypeStructs: a train state, or parameters.
      constants: the arguments after the batch.
    """

    def __init__(self, compile_step: Callable[..., Callable[..., Any]], first: Any, constants: tuple[Any, ...]) -> None:
        self._compile_step, self._first, self._constants = compile_step, first, constants
        self._compiled: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def compile(self, batch: DeviceBatch) -> Callable[..., Any]:
        """Returns the step for batches of this shape."""
        key = tuple(sorted((name, array.shape, str(array.dtype)) for name, array in batch.items()))
        if key not in self._compiled:
            self._compiled[key] = self._compile_step(self._first, batch, *self._constants)
        return self._compiled[key]

    def __call__(self, first: Any, batch: DeviceBatch) -> Any:
        """Runs the step."""
        return self.compile(batch)(first, batch, *self._constants)


class Programs:
    """The programs of a run, compiled before its first step for the shapes of the first batches.

    Args:
      job: defines the steps.
      mesh: the devices.
      state: the train state as ShapeDtypeStructs with shardings.
      shardings: the shardings alone.
      stop: adds the stop flag to each batch.
      clock: counts the time as "compile".
      progress: shows what is being compiled.

    Attributes:
      constants: the job's constants, on the devices: arguments of its steps after state and batch.
    """

    def __init__(
        self, job: Job, mesh: Mesh, state: State, shardings: Any, stop: Stop, clock: Clock, progress: Progress
    ) -> None:
        self._job, self._mesh, self._stop, self._clock, self._progress = job, mesh, stop, clock, progress
        self._state, self._shardings = state, shardings
        self.constants = job.constants(mesh)

    def compile(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Compiles all programs; returns an iterator over all training batches, after reading the first of them.

        Raises:
          UserError: the job has an evaluation, and the held-out set is empty.
        """
        params = self._state["params"]
        self._all_finite = self._compiler("the check of the parameters", all_finite)(params)
        if self._job.eval_step is not None:
            step = jax.jit(with_stop_flag(on_whole_parameters(self._job.eval_step)))
            self._eval_step = CompiledByShape(self._compiler("the evaluation step", step), params, self.constants)
            self._eval_step.compile(self.put(_first(self._job.eval_batches())))
        with self._clock("data"):
            sample = next(batches, None)
        if sample is None:
            return batches
        step = jitted_step(self._job, self._shardings, self._mesh)
        self._train_step = CompiledByShape(self._compiler("the training step", step), self._state, self.constants)
        self._train_step.compile(self.put(sample))
        return itertools.chain([sample], batches)

    def put(self, batch: Batch) -> dict[str, jax.Array]:
        """Transfers a batch to the devices."""
        return put_batch(self._stop.add_flag(batch), self._mesh)

    def train_step(self, batch: DeviceBatch) -> Callable[[State, DeviceBatch], tuple[State, dict[str, jax.Array]]]:
        """Returns the training step for batches of this shape: (state, batch, *constants) -> (state, metrics)."""
        return self._train_step.compile(batch)

    def evaluate(self, params: Params, batch: Batch) -> Any:
        """Runs the evaluation step on a batch; the outputs stay on the devices."""
        return self._eval_step(params, self.put(batch))

    def is_finite(self, params: Params) -> bool:
        """Whether all parameters are finite."""
        return bool(self._all_finite(params))

    def _compiler(self, what: str, jitted: Any) -> Callable[..., Callable[..., Any]]:
        def compile_for(*arguments: Any) -> Callable[..., Any]:
            title = f"compiling {what}{_describe_batch(arguments[1])}" if len(arguments) > 1 else f"compiling {what}"
            with self._clock("compile"), self._progress.working(title), jax.set_mesh(self._mesh):
                return jitted.lower(*arguments).compile()

        return compile_for


def _describe_batch(batch: DeviceBatch) -> str:
    """Returns the shape of a batch's token ids, for which a step is compiled, in words; "" without token ids."""
    ids = batch.get("input_ids")
    return "" if ids is None else f" for batches of {' x '.join(map(str, ids.shape))}"


def _first(batches: Iterable[Mapping[str, np.ndarray]]) -> Batch:
    sample = next(iter(batches), None)
    if sample is None:
        raise UserError("there are no held-out rows: give data.eval_source, or more of data.eval_fraction")
    return sample
