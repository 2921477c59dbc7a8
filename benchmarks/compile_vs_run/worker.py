"""A worker that builds and runs one case, and the driver's way to ask it."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from importlib import metadata, util
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from benchmarks.compile_vs_run.cases import Case, Sizes, make_batch
from benchmarks.compile_vs_run.programs import Program, make_program
from benchmarks.compile_vs_run.results import Measurement
from benchmarks.compile_vs_run.stages import Built, Runs, build, run, warm_up
from benchmarks.harness import circumstances as harness
from benchmarks.harness import workers
from benchmarks.harness.results import decode
from benchmarks.harness.serving import Handlers, serve
from benchmarks.harness.timing import repeated
from flax_lite.layers.execution import Execution
from train.machine.chips import Target, parse_target
from train.machine.host_memory import keep_freed_memory
from train.machine.mesh import make_mesh
from train.plan.compiling import compiler_environment, target_mesh


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """How cases are measured.

    Attributes:
        sizes: of all cases.
        dtype: of activations; "auto" is the device's own.
        target: devices to compile for, which may be absent; None: run on the first local device.
        repeats: builds of a case, at most.
        build_limit_seconds: no further build starts once their sum reaches it.
        runs: after the first, at most.
        run_limit_seconds: likewise.
    """

    sizes: Sizes
    dtype: str = "auto"
    target: str | None = None
    repeats: int = 2
    build_limit_seconds: float = 20.0
    runs: int = 10
    run_limit_seconds: float = 6.0


def ask(request: Request, do: str, limit_seconds: float, **more: Any) -> dict[str, Any] | str:
    """Asks a new worker; returns its answer, or the reason why there is none."""
    target = parse_target(request.target) if request.target else None
    if target and target.topology is not None and util.find_spec("libtpu") is None:
        return "no compiler for TPUs here: pip install 'flax-lite[tpu]' brings one that needs no TPU"
    arguments = {"request": dataclasses.asdict(request), **more}
    return workers.ask("benchmarks.compile_vs_run.worker", _environment(target), do, limit_seconds, **arguments)


def _environment(target: Target | None) -> dict[str, str]:
    """Drops the user's cache settings: a program read from a cache would count as compiled."""
    known = compiler_environment(target) if target else {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    return {
        name: value for name, value in known.items() if not name.startswith(("JAX_COMPILATION_CACHE", "JAX_PERSIST"))
    }


def circumstances(request: Request) -> dict[str, Any]:
    """Returns the harness's circumstances with dtype and sizes, and the target in place of the local device."""
    found = harness.circumstances()
    if request.target:
        del found["platform"], found["device"], found["device_count"]
        found["target"] = request.target
        if util.find_spec("libtpu"):
            found["versions"] |= {"libtpu": metadata.version("libtpu")}
    return {**found, "dtype": _dtype(request), "sizes": dataclasses.asdict(request.sizes)}


def measure(case: Case, request: Request) -> Measurement:
    """Builds a case repeatedly, and runs it unless it is compiled for a target."""
    inputs = _prepare(case, request)
    builds: list[Built] = []

    def once() -> float:
        builds[:] = [*(one._replace(compiled=None) for one in builds), build(*inputs)]
        return sum(builds[-1].stages)

    repeated(once, request.repeats, request.build_limit_seconds)
    compiled = builds[-1].compiled
    memory = compiled.memory_analysis()
    ran = Runs(None, [], [])
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    if not request.target:
        program, batch, mesh = inputs
        ran = run(program, compiled, batch, mesh, request.runs, request.run_limit_seconds)
    returned = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Measurement(
        builds=[one.stages for one in builds],
        program_lines=builds[-1].program_lines,
        code_bytes=memory.generated_code_size_in_bytes or None,
        temporary_bytes=memory.temp_size_in_bytes,
        argument_bytes=memory.argument_size_in_bytes,
        total_bytes=memory.argument_size_in_bytes + returned + memory.temp_size_in_bytes,
        peak_bytes=memory.peak_memory_in_bytes or None,
        dtype=_dtype(request),
        first_seconds=ran.first_seconds,
        run_seconds=ran.seconds,
        outcome=ran.outcome,
    )


def start(case: Case, request: Request, cache: str) -> dict[str, Any]:
    """Builds a case once with a persistent compilation cache; returns its stages and whether the cache had it."""
    for name, value in {
        "enable_compilation_cache": True,
        "compilation_cache_dir": cache,
        "persistent_cache_min_compile_time_secs": 0.0,
        "persistent_cache_min_entry_size_bytes": -1,
    }.items():
        jax.config.update(f"jax_{name}", value)
    built = build(*_prepare(case, request))
    return {"stages": built.stages, "hit": built.from_cache}


def _prepare(case: Case, request: Request) -> tuple[Program, dict[str, np.ndarray], Mesh]:
    """Returns a case's program, batch and mesh, and starts the compiler."""
    mesh = make_mesh(1, 1)
    if request.target:
        target = parse_target(request.target)
        mesh = target_mesh(target, (target.devices, 1))
    warm_up()
    batch = make_batch(request.sizes, request.sizes.batch_size * mesh.size)
    return make_program(case, request.sizes, _dtype(request)), batch, mesh


def _dtype(request: Request) -> str:
    device = parse_target(request.target).chip if request.target else jax.devices()[0]
    return Execution(dtype=request.dtype).resolve(1, device).dtype  # type: ignore[arg-type]


def _measure(request: Mapping[str, Any], case: Mapping[str, Any]) -> dict[str, Any]:
    return dataclasses.asdict(measure(Case(**case), decode(Request, request)))


HANDLERS: Handlers = {
    "circumstances": lambda request: circumstances(decode(Request, request)),
    "measure": _measure,
    "start": lambda request, case, cache: start(Case(**case), decode(Request, request), cache),
}


def main() -> int:
    """Serves requests."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # programs run in the thread that keeps freed memory
    serve(HANDLERS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
