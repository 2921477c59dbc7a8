"""The stages from Python to a result, each timed separately: trace, lower, compile or load, run."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.compile_vs_run.programs import Program
from benchmarks.harness.timing import repeated, timed
from flax_lite.models.params import tree_shardings
from train.machine.mesh import BATCH, put_batch

_CACHE_HIT = "/jax/compilation_cache/cache_hits"
_COMPARED = 8  # numbers of a forward pass that are kept for the comparison of executions


class Stages(NamedTuple):
    """Seconds from Python to jaxpr, from jaxpr to StableHLO, and from there to an executable, compiled or loaded."""

    trace: float
    lower: float
    compile: float


class Built(NamedTuple):
    """An executable, the seconds of its stages, the length of its program, and whether a cache on disk had it."""

    compiled: Any
    stages: Stages
    program_lines: int
    from_cache: bool


class Runs(NamedTuple):
    """Seconds of the first run and of those after it, and numbers of the first result."""

    first_seconds: float | None
    seconds: list[float]
    outcome: list[float]


def build(program: Program, batch: Mapping[str, np.ndarray], mesh: Mesh) -> Built:
    """Traces, lowers and compiles a program for a mesh, after emptying JAX's caches in memory."""
    jax.clear_caches()
    shapes = jax.eval_shape(program.make, jax.random.key(0))
    shardings = tree_shardings(shapes, mesh)
    carried, constants = jax.tree.map(_with_sharding, shapes, shardings)
    rows, replicated = NamedSharding(mesh, BATCH), NamedSharding(mesh, PartitionSpec())
    inputs = {name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=rows) for name, array in batch.items()}
    jitted = (
        jax.jit(program.function, donate_argnums=0, out_shardings=(shardings[0], replicated))
        if program.trains
        else jax.jit(program.function, out_shardings=rows)
    )
    with jax.set_mesh(mesh):
        trace, traced = timed(lambda: jitted.trace(carried, inputs, *constants))
        lower, lowered = timed(traced.lower)
        hits = _CacheHits.count()
        compile_, compiled = timed(lowered.compile)
    lines = len(lowered.as_text().splitlines())
    return Built(compiled, Stages(trace, lower, compile_), lines, from_cache=_CacheHits.count() > hits)


def warm_up() -> None:
    """Compiles a one-line program, because starting the compiler is no program's cost."""
    jax.jit(lambda x: jnp.tanh(x @ x))(jnp.ones((8, 8))).block_until_ready()


def run(
    program: Program, compiled: Any, batch: Mapping[str, np.ndarray], mesh: Mesh, times: int, limit_seconds: float
) -> Runs:
    """Runs an executable once, then `times` times or until the limit, and waits for the whole of each result.

    A training step's state goes into the next step; the batch stays on the device.

    Raises:
        RuntimeError: if the results show that the work was not done.
    """
    shardings = tree_shardings(jax.eval_shape(program.make, jax.random.key(0)), mesh)
    with jax.set_mesh(mesh):
        carried, constants = jax.jit(program.make, out_shardings=shardings)(jax.random.key(0))
    rows = put_batch(batch, mesh)
    jax.block_until_ready((carried, constants, rows))
    outputs: Any = None

    def once() -> float:
        nonlocal carried, outputs
        seconds, result = timed(lambda: jax.block_until_ready(compiled(carried, rows, *constants)))
        carried, outputs = result if program.trains else (carried, result)
        return seconds

    first_seconds = once()
    outcome = _numbers(outputs)
    seconds = repeated(once, times, limit_seconds)
    _check(program, carried, outcome, _numbers(outputs), 1 + len(seconds))
    return Runs(first_seconds, seconds, outcome)


class _CacheHits:
    """Counts the programs that this process has read from the persistent compilation cache since the first call."""

    _events: list[str] | None = None

    @classmethod
    def count(cls) -> int:
        if cls._events is None:
            events = cls._events = []
            jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
        return cls._events.count(_CACHE_HIT)


def _with_sharding(shape: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)


def _numbers(outputs: Mapping[str, jax.Array]) -> list[float]:
    """Returns a step's loss and gradient norm, or the first numbers of a forward pass."""
    if "loss" in outputs:
        return [float(outputs["loss"]), float(outputs["grad_norm"])]
    return np.asarray(outputs["last_hidden_state"], np.float32).ravel()[:_COMPARED].tolist()


def _check(program: Program, carried: Any, first: list[float], last: list[float], runs: int) -> None:
    if not all(map(math.isfinite, first + last)):
        raise RuntimeError(f"the result is not finite: {first} at first, {last} at last")
    if program.trains:
        if int(carried["step"]) != runs or (runs > 1 and first == last):
            raise RuntimeError(
                f"after {runs} steps the step is {int(carried['step'])}, losses {first[0]} and {last[0]}"
            )
    elif first != last:
        raise RuntimeError(f"the same forward pass returned {first}, then {last}")
