"""A worker for each case: flax_lite's in this environment, PyTorch's in its own.

Several may build at a time, which is work for the host's processor; then each runs while the others wait.
"""

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_steps.cases import PLAIN, WORKS, Case, Setting
from benchmarks.gpu_steps.results import Measurement
from benchmarks.harness import workers
from benchmarks.harness.results import decode
from train.errors import UserError

_WORKER = "benchmarks.gpu_steps.worker"
_TORCH_WORKER = "benchmarks.gpu_steps.torch_worker"
# A running case has the GPU to itself, except for the contexts of waiting workers: JAX's default of 0.75 would leave a
# quarter unused, and is allocated at once (docs.jax.dev/en/latest/gpu_memory_allocation.html).
_MEMORY_FRACTION = "0.9"
_PAUSE_SECONDS = 0.05
# A program read from a cache would count as compiled.
_CACHES = ("JAX_COMPILATION_CACHE", "JAX_PERSIST", "TORCHINDUCTOR_CACHE_DIR")
_SET = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "HF_HUB_OFFLINE": "1",
    "XLA_PYTHON_CLIENT_MEM_FRACTION": _MEMORY_FRACTION,
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def describe(work_name: str, limit_seconds: float) -> dict[str, Any]:
    """Returns circumstances, peak and floor of the local device.

    Raises:
        UserError: if there is no device that can be measured.
    """
    found = workers.ask(_WORKER, _environment(PLAIN), "describe", limit_seconds, work=work_name)
    if isinstance(found, str):
        raise UserError(found)
    found["circumstances"] |= {"work": work_name, "memory fraction": _MEMORY_FRACTION}
    return found


def measure(
    work_name: str, cases: Sequence[Case], python: str, build_seconds: float, run_seconds: float
) -> Generator[tuple[Case, Measurement | str]]:
    """Yields each case with its numbers, or the reason why there are none.

    All are built at once. Workers that are late are killed, because they would disturb the runs of the others.

    Args:
        work_name: a key of WORKS.
        cases: in the order in which they run.
        python: the interpreter of PyTorch's cases.
        build_seconds: limit of all builds.
        run_seconds: limit of each run.
    """
    with tempfile.TemporaryDirectory(prefix="gpu_steps-") as folder, contextlib.ExitStack() as stack:
        building = {}
        for number, case in enumerate(cases):
            building[case] = stack.enter_context(_start(work_name, case, Path(folder) / f"{number}.npz", python))
        deadline = time.monotonic() + build_seconds
        while not all(worker.has_answered for worker in building.values()) and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
        late = [case for case, worker in building.items() if not worker.has_answered]
        for case in late:
            building[case].kill()
        for case, worker in building.items():
            yield case, f"not built after {build_seconds:.0f} s" if case in late else _run(worker, run_seconds)
            worker.kill()  # the next case needs its memory


def _run(worker: workers.Worker, limit_seconds: float) -> Measurement | str:
    try:
        worker.receive(limit_seconds)  # the answer to "build", which is there
        return decode(Measurement, worker.ask("run", limit_seconds))
    except workers.WorkerError as error:
        return str(error)


def _start(work_name: str, case: Case, batch: Path, python: str) -> workers.Worker:
    """Starts a worker and asks it to build."""
    work, smoke = WORKS[work_name], work_name == "smoke"
    if case.setting is not None:
        worker = workers.Worker(_WORKER, _environment(case.setting))
        worker.send("build", work=work_name, case=dataclasses.asdict(case))
        return worker
    np.savez(batch, allow_pickle=False, **work.batch(case))
    worker = workers.Worker(_TORCH_WORKER, _environment(PLAIN), python=python)
    # On a CPU Inductor needs a C++ compiler, and a smoke run is no measurement.
    options = {"steps": work.steps, "smoke": smoke, "compile_step": not smoke}
    worker.send("build", config=work.config(case.model).to_json_dict(), batch=str(batch), **options)
    return worker


def _environment(setting: Setting) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith(_CACHES)} | _SET
    flags = " ".join((os.environ.get("XLA_FLAGS", ""), *setting.execution("float32").xla_flags())).strip()
    return found | ({"XLA_FLAGS": flags} if flags else {})
