"""A step of flax_lite in a process of its own, which has the GPU's memory to itself.

python -m benchmarks.gpu_steps.worker < {"action": "measure", "work": "real", "case": {...}}
"""

import dataclasses
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.circumstances import circumstances
from benchmarks.compile_vs_run.programs import pretraining_program
from benchmarks.compile_vs_run.stages import build, run, warm_up
from benchmarks.gpu_steps import turns
from benchmarks.gpu_steps.cases import WORKS, Work, case_of
from benchmarks.gpu_steps.failures import FAILED, guarded
from benchmarks.gpu_steps.results import Measurement
from flax_lite.layers.execution import Execution
from train.machine import child_process
from train.machine.chips import CHIPS, kind_of
from train.machine.mesh import make_mesh

# The first of a new program's runs are slower: clocks rise, libraries load their kernels.
_WARM_UP = 2
_PRODUCTS = 16  # in one program, so that launching it does not count


def measure(work: Work, question: Mapping[str, Any]) -> dict[str, Any]:
    """Builds a case's step and, when its turn has come, runs it."""
    case = case_of(question["case"])
    assert case.setting is not None
    program = pretraining_program(work.config(case.model), case.setting.execution(work.dtype))
    batch, mesh = work.batch(case), make_mesh(1, 1)
    warm_up()
    built = build(program, batch, mesh)
    turns.wait(question["turn"])
    ran = run(program, built.compiled, batch, mesh, _WARM_UP - 1 + work.steps, math.inf)
    found = Measurement(
        build_seconds=sum(built.stages),
        step_seconds=ran.seconds[_WARM_UP - 1 :],
        loss=ran.outcome[0],
        grad_norm=ran.outcome[1],
        peak_bytes=(jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
        settings=f"flax_lite, {work.dtype}",
    )
    return dataclasses.asdict(found)


def describe(work: Work, question: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be the same for numbers to be comparable, what the device could do, and what it does at best."""
    device = jax.devices()[0]
    native = Execution(dtype="auto").resolve(1, device).dtype == "bfloat16"
    if work.dtype == "bfloat16" and (device.platform != "gpu" or not native):
        return {FAILED: f"no GPU that computes in bfloat16 here, but {device.device_kind} ({device.platform})"}
    chip = CHIPS.get(kind_of(device.device_kind))
    return {
        "circumstances": circumstances(),
        "peak": chip and chip.peak_flops_per_second(work.dtype),
        "floor": product_rate(work),
    }


def product_rate(work: Work) -> float:
    """FLOPs a second of products of two square matrices of random numbers, the median of as many runs as steps."""
    width = work.products
    left, right = jax.random.normal(jax.random.key(0), (2, width, width))
    # So scaled, a product has the variance of its factors.
    left, right = left.astype(work.dtype), (right / math.sqrt(width)).astype(work.dtype)

    @jax.jit
    def products(left: jax.Array, right: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, _PRODUCTS, lambda _, one: one @ right, left)

    seconds, last = [], left
    for _ in range(1 + _WARM_UP + work.steps):
        start = time.perf_counter()
        last = products(left, right).block_until_ready()
        seconds.append(time.perf_counter() - start)
    if not jnp.isfinite(last).all():
        raise RuntimeError("a product of matrices is not finite")
    return _PRODUCTS * 2 * width**3 / statistics.median(seconds[1 + _WARM_UP :])


_ACTIONS: Mapping[str, Callable[[Work, Mapping[str, Any]], dict[str, Any]]] = {
    "describe": describe,
    "measure": measure,
}


def main() -> int:
    """Reads a question from standard input and prints what came of it."""
    question = child_process.read_request()
    child_process.write_answer(guarded(lambda: _ACTIONS[question["action"]](WORKS[question["work"]], question)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
