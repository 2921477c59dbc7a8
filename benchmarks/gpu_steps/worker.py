"""A worker that builds and runs one case of flax_lite, with the GPU's memory to itself while it runs."""

import dataclasses
import math
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.compile_vs_run.programs import pretraining_program
from benchmarks.compile_vs_run.stages import build, run, warm_up
from benchmarks.gpu_steps.cases import WORKS, Case, Work
from benchmarks.gpu_steps.results import Measurement
from benchmarks.harness.circumstances import circumstances
from benchmarks.harness.results import decode
from benchmarks.harness.serving import Handlers, serve
from benchmarks.harness.timing import timed
from flax_lite.layers.execution import Execution
from train.machine.chips import CHIPS, kind_of
from train.machine.mesh import make_mesh

# The first runs of a new program are slower: clocks rise, libraries load their kernels.
_WARM_UP = 2
_PRODUCTS = 16  # in one program, so that launching it is negligible


def prepare(work: Work, case: Case) -> Callable[[], Measurement]:
    """Builds a case's step, and returns a function that runs it."""
    assert case.setting is not None
    program = pretraining_program(work.config(case.model), case.setting.execution(work.dtype))
    batch, mesh = work.batch(case), make_mesh(1, 1)
    warm_up()
    built = build(program, batch, mesh)

    def measure() -> Measurement:
        ran = run(program, built.compiled, batch, mesh, _WARM_UP - 1 + work.steps, math.inf)
        return Measurement(
            build_seconds=sum(built.stages),
            step_seconds=ran.seconds[_WARM_UP - 1 :],
            loss=ran.outcome[0],
            grad_norm=ran.outcome[1],
            peak_bytes=(jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
            settings=f"flax_lite, {work.dtype}",
        )

    return measure


def describe(work: Work) -> dict[str, Any]:
    """Returns the circumstances, the device's peak by its data sheet, and its measured floor."""
    device = jax.devices()[0]
    native = Execution(dtype="auto").resolve(1, device).dtype == "bfloat16"
    if work.dtype == "bfloat16" and (device.platform != "gpu" or not native):
        return {"error": f"no GPU that computes in bfloat16 here, but {device.device_kind} ({device.platform})"}
    chip = CHIPS.get(kind_of(device.device_kind))
    peak = chip and chip.peak_flops_per_second(work.dtype)
    return {"circumstances": circumstances(), "peak": peak, "floor": product_rate(work)}


def product_rate(work: Work) -> float:
    """Measures FLOPs per second of products of two random square matrices; the median of `work.steps` runs."""
    width = work.products
    left, right = jax.random.normal(jax.random.key(0), (2, width, width))
    # Scaled so that a product has the variance of its factors.
    left, right = left.astype(work.dtype), (right / math.sqrt(width)).astype(work.dtype)

    @jax.jit
    def products(left: jax.Array, right: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, _PRODUCTS, lambda _, product: product @ right, left)

    runs = [timed(lambda: products(left, right).block_until_ready()) for _ in range(1 + _WARM_UP + work.steps)]
    if not jnp.isfinite(runs[-1][1]).all():
        raise RuntimeError("a product of matrices is not finite")
    return _PRODUCTS * 2 * width**3 / statistics.median(seconds for seconds, _ in runs[1 + _WARM_UP :])


class _Prepared:
    """The case that this process has built."""

    measure: Callable[[], Measurement]

    def build(self, work: str, case: Mapping[str, Any]) -> dict[str, Any]:
        self.measure = prepare(WORKS[work], decode(Case, case))
        return {}

    def run(self) -> dict[str, Any]:
        return dataclasses.asdict(self.measure())


def handlers() -> Handlers:
    """Returns the requests that a worker answers."""
    prepared = _Prepared()
    return {"describe": lambda work: describe(WORKS[work]), "build": prepared.build, "run": prepared.run}


if __name__ == "__main__":
    serve(handlers())
    sys.exit(0)
