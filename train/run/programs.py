"""What a run calls on the devices: the training step, the evaluation step, and the check of the parameters."""

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
    """Shapes and dtypes of a job's state with their shardings on a mesh, and the shardings alone."""
    shapes = jax.eval_shape(job.init_state, jax.random.key(0))
    shardings = tree_shardings(shapes, mesh)
    return placed(shapes, shardings), shardings


def placed(shapes: Any, shardings: Any) -> Any:
    """Shapes and dtypes with a sharding each."""
    return jax.tree.map(lambda leaf, sharding: leaf.update(sharding=sharding), shapes, shardings)


def jitted_step(job: Job, shardings: Any, mesh: Mesh) -> Any:
    """The job's training step, to be lowered: (state, batch, *constants) -> (state, metrics).

    The state is donated: the next one takes its memory, so that there is one on the devices and not two. It leaves in
    the shardings that it came in, or the next call would be another program. Metrics are whole on every device, for
    each host reads them.
    """
    outputs = (shardings, NamedSharding(mesh, PartitionSpec()))
    return jax.jit(with_stop_flag(job.train_step), donate_argnums=0, out_shardings=outputs)


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

    def compile(self, batch: DeviceBatch) -> Callable[..., Any]:
        """The step for batches of this shape."""
        key = tuple(sorted((name, array.shape, str(array.dtype)) for name, array in batch.items()))
        if key not in self._compiled:
            self._compiled[key] = self._compile_step(self._first, batch, *self._constants)
        return self._compiled[key]

    def __call__(self, first: Any, batch: DeviceBatch) -> Any:
        """Takes the step."""
        return self.compile(batch)(first, batch, *self._constants)


class Programs:
    """The programs of a run, compiled before its first step for the shapes of the first batches.

    Args:
      job: what they compute.
      mesh: where.
      state: shapes, dtypes and shardings of the train state.
      shardings: the shardings alone.
      stop: sends with each batch whether this host was asked to stop.
      clock: counts as "compile".
      progress: says what is being compiled.

    Attributes:
      constants: what the job's steps read beside state and batch, on the devices.
    """

    def __init__(
        self, job: Job, mesh: Mesh, state: State, shardings: Any, stop: Stop, clock: Clock, progress: Progress
    ) -> None:
        self._job, self._mesh, self._stop, self._clock, self._progress = job, mesh, stop, clock, progress
        self._state, self._shardings = state, shardings
        self.constants = job.constants(mesh)

    def compile(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Compiles all that the steps call; returns all training batches, of which it has read the first.

        Raises:
          UserError: the job evaluates, and there are no held-out rows.
        """
        params = self._state["params"]
        self._finite = self._compiler("the check of the parameters", all_finite)(params)
        if self._job.eval_step is not None:
            step = jax.jit(with_stop_flag(on_whole_parameters(self._job.eval_step)))
            self._evaluation = ByShape(self._compiler("the evaluation step", step), params, self.constants)
            self._evaluation.compile(self.put(_first(self._job.eval_batches())))
        with self._clock("data"):
            sample = next(batches, None)
        if sample is None:
            return batches
        step = jitted_step(self._job, self._shardings, self._mesh)
        self._step = ByShape(self._compiler("the training step", step), self._state, self.constants)
        self._step.compile(self.put(sample))
        return itertools.chain([sample], batches)

    def put(self, batch: Batch) -> dict[str, jax.Array]:
        """A batch on the devices."""
        return put_batch(self._stop.sent(batch), self._mesh)

    def step(self, batch: DeviceBatch) -> Callable[[State, DeviceBatch], tuple[State, dict[str, jax.Array]]]:
        """The training step for batches of this shape: (state, batch, *constants) -> (state, metrics)."""
        return self._step.compile(batch)

    def evaluate(self, params: Params, batch: Batch) -> Any:
        """What the evaluation step keeps of a batch, still on the devices."""
        return self._evaluation(params, self.put(batch))

    def is_finite(self, params: Params) -> bool:
        """Whether every parameter is a finite number."""
        return bool(self._finite(params))

    def _compiler(self, what: str, jitted: Any) -> Callable[..., Callable[..., Any]]:
        def compile_for(*arguments: Any) -> Callable[..., Any]:
            with self._clock("compile"), self._progress.working(f"compiling {what}"), jax.set_mesh(self._mesh):
                return jitted.lower(*arguments).compile()

        return compile_for


def _first(batches: Iterable[Mapping[str, np.ndarray]]) -> Batch:
    sample = next(iter(batches), None)
    if sample is None:
        raise UserError("there are no held-out rows: give data.eval_source, or more of data.eval_fraction")
    return sample
