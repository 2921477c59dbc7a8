"""A program's way from Python to a result, each stage timed by itself: trace, lower, compile or load, run."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.compile_vs_run.programs import Program
from flax_lite.models.params import tree_shardings
from train.machine.mesh import BATCH, put_batch

_CACHE_HIT = "/jax/compilation_cache/cache_hits"
_COMPARED = 8  # numbers of a forward pass that are kept, to be compared with other executions'


class Stages(NamedTuple):
    """Seconds: Python to jaxpr, jaxpr to StableHLO, and that to an executable, by the compiler or from the cache."""

    trace: float
    lower: float
    compile: float


class Built(NamedTuple):
    """An executable, how long it took, how long its program is, and whether it was read from a cache on disk."""

    compiled: Any
    stages: Stages
    program_lines: int
    from_cache: bool


class Runs(NamedTuple):
    """What running gave: seconds of the first run and of those after it, and numbers of the first one's result."""

    first_seconds: float | None
    seconds: list[float]
    outcome: list[float]


def build(program: Program, batch: Mapping[str, np.ndarray], mesh: Mesh) -> Built:
    """Traces, lowers and compiles a program from nothing, for a mesh; JAX's caches in memory are emptied first."""
    jax.clear_caches()
    shapes = jax.eval_shape(program.make, jax.random.key(0))
    shardings = tree_shardings(shapes, mesh)
    carried, constants = jax.tree.map(_placed, shapes, shardings)
    rows = NamedSharding(mesh, BATCH)
    given = {name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=rows) for name, array in batch.items()}
    whole = NamedSharding(mesh, PartitionSpec())
    jitted = (
        jax.jit(program.function, donate_argnums=0, out_shardings=(shardings[0], whole))
        if program.trains
        else jax.jit(program.function, out_shardings=rows)
    )
    with jax.set_mesh(mesh):
        trace, traced = _timed(lambda: jitted.trace(carried, given, *constants))
        lower, lowered = _timed(traced.lower)
        hits = _CacheHits.count()
        compile_, compiled = _timed(lowered.compile)
    lines = len(lowered.as_text().splitlines())
    return Built(compiled, Stages(trace, lower, compile_), lines, from_cache=_CacheHits.count() > hits)


def warm_up() -> None:
    """Has the compiler start, which is no program's cost, with a program of a line."""
    jax.jit(lambda x: jnp.tanh(x @ x))(jnp.ones((8, 8))).block_until_ready()


def repeated(function: Callable[[], float], times: int, limit_seconds: float) -> list[float]:
    """What `function` returns, called `times` times, or fewer once what it returned adds up to the limit."""
    found: list[float] = []
    while len(found) < times and sum(found) < limit_seconds:
        found.append(function())
    return found


def run(
    program: Program, compiled: Any, batch: Mapping[str, np.ndarray], mesh: Mesh, times: int, limit_seconds: float
) -> Runs:
    """Runs an executable once, then `times` times, or fewer within the limit, each result waited for as a whole.

    A training step's state goes into the next step; the batch stays on the device.

    Raises:
        RuntimeError: if what came out shows that the work was not done.
    """
    shardings = tree_shardings(jax.eval_shape(program.make, jax.random.key(0)), mesh)
    with jax.set_mesh(mesh):
        carried, constants = jax.jit(program.make, out_shardings=shardings)(jax.random.key(0))
    rows = put_batch(batch, mesh)
    jax.block_until_ready((carried, constants, rows))
    outputs: Any = None

    def once() -> float:
        nonlocal carried, outputs
        seconds, result = _timed(lambda: jax.block_until_ready(compiled(carried, rows, *constants)))
        carried, outputs = result if program.trains else (carried, result)
        return seconds

    first_seconds = once()
    outcome = _numbers(outputs)
    seconds = repeated(once, times, limit_seconds)
    _check(program, carried, outcome, _numbers(outputs), 1 + len(seconds))
    return Runs(first_seconds, seconds, outcome)


def median_stages(stages: list[Stages]) -> Stages:
    """The median of each stage."""
    return Stages(*(statistics.median(column) for column in zip(*stages, strict=True)))


class _CacheHits:
    """How often this process has read a program from the persistent compilation cache since it was first asked."""

    _found: list[str] | None = None

    @classmethod
    def count(cls) -> int:
        if cls._found is None:
            found = cls._found = []
            jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
        return cls._found.count(_CACHE_HIT)


def _placed(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def _numbers(outputs: Mapping[str, jax.Array]) -> list[float]:
    """A step's loss and gradient norm, or the first numbers of a forward pass."""
    if "loss" in outputs:
        return [float(outputs["loss"]), float(outputs["grad_norm"])]
    return np.asarray(outputs["last_hidden_state"], np.float32).ravel()[:_COMPARED].tolist()


def _check(program: Program, carried: Any, first: list[float], last: list[float], runs: int) -> None:
    if not all(map(math.isfinite, first + last)):
        raise RuntimeError(f"the result is not finite: {first} at first, {last} at last")
    if program.trains:
        if int(carried["step"]) != runs or (runs > 1 and first == last):
            raise RuntimeError(f"{runs} steps left step {int(carried['step'])}, losses {first[0]} and {last[0]}")
    elif first != last:
        raise RuntimeError(f"the same forward pass gave {first}, then {last}")
