"""A worker for each case: flax_lite's in this environment, PyTorch's in one of its own.

Several may build at a time, which is work for the processor; then each runs while the others wait.
"""

import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_steps import turns
from benchmarks.gpu_steps.cases import PLAIN, WORKS, Case, Setting
from benchmarks.gpu_steps.failures import FAILED
from benchmarks.gpu_steps.results import Measurement
from benchmarks.peers.environments import python_of
from benchmarks.peers.rivals import environments
from train.errors import UserError
from train.machine import child_process

MAKE, NONE = "make", "none"
_WORKER = "benchmarks.gpu_steps.worker"
_TORCH_WORKER = "benchmarks.gpu_steps.torch_worker"
_ROOT = Path(__file__).resolve().parents[2]
# A case that runs has the GPU to itself, but for the contexts of those that wait: JAX's own 0.75 leaves a quarter to
# others, and is taken at once (docs.jax.dev/en/latest/gpu_memory_allocation.html).
_MEMORY_FRACTION = "0.9"
_PAUSE_SECONDS = 0.05
# A program that a cache held would count as compiled.
_CACHES = ("JAX_COMPILATION_CACHE", "JAX_PERSIST", "TORCHINDUCTOR_CACHE_DIR")
_SET = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "HF_HUB_OFFLINE": "1",
    "XLA_PYTHON_CLIENT_MEM_FRACTION": _MEMORY_FRACTION,
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def describe(work_name: str, limit_seconds: float) -> dict[str, Any]:
    """Circumstances, peak and floor of the device that is here.

    Raises:
        UserError: there is none that can be measured.
    """
    question = {"action": "describe", "work": work_name}
    found = _answer(child_process.run(_WORKER, question, _environment(PLAIN), limit_seconds, _ROOT))
    if isinstance(found, str):
        raise UserError(found)
    found["circumstances"] |= {"work": work_name, "memory fraction": _MEMORY_FRACTION}
    return found


def measure(
    work_name: str, cases: Sequence[Case], python: str, build_seconds: float, run_seconds: float
) -> Generator[tuple[Case, Measurement | str]]:
    """What came of each case, or why nothing did.

    All are built at once; those that are not within the limit are ended, for they would disturb the others.

    Args:
        work_name: a key of WORKS.
        cases: in the order in which they run.
        python: the interpreter of PyTorch's cases.
        build_seconds: limit of all cases together.
        run_seconds: limit of each, after it was built.
    """
    with tempfile.TemporaryDirectory(prefix="gpu_steps-") as root:
        folders = {case: Path(root) / str(number) for number, case in enumerate(cases)}
        workers = {case: _start(work_name, case, folder, python) for case, folder in folders.items()}
        try:
            waits = {case: _Waiting(folder, workers[case]) for case, folder in folders.items()}
            _until(lambda: all(one.over for one in waits.values()), build_seconds)
            late = [case for case, one in waits.items() if not one.over]
            for case in late:
                workers[case].end()
            for case, worker in workers.items():
                turns.give(folders[case])
                found = f"not built after {build_seconds:.0f} s" if case in late else worker.answer(run_seconds)
                outcome = _answer(found)
                yield case, outcome if isinstance(outcome, str) else Measurement(**outcome)
        finally:
            for worker in workers.values():
                worker.end()


@dataclasses.dataclass(frozen=True)
class _Waiting:
    folder: Path
    worker: child_process.ChildProcess

    @property
    def over(self) -> bool:
        """Whether it has built, or failed to."""
        return self.worker.ended or turns.is_ready(self.folder)


def _until(done: Callable[[], bool], limit_seconds: float) -> None:
    deadline = time.monotonic() + limit_seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)


def torch_python(wanted: str, folder: Path) -> str:
    """The interpreter of PyTorch's environment.

    Args:
        wanted: MAKE, or the interpreter of one that exists.
        folder: of the one that is made.

    Raises:
        SetupError: it cannot be made.
    """
    return str(python_of(folder.resolve(), environments()["hf_torch"])) if wanted == MAKE else wanted


def check_interpreter(wanted: str) -> None:
    """Raises UserError where `wanted` names an interpreter that is not there."""
    if wanted not in (MAKE, NONE) and shutil.which(wanted) is None:
        raise UserError(f"--torch {wanted}: no such program; expected {MAKE}, {NONE} or the path of an interpreter")


def _start(work_name: str, case: Case, folder: Path, python: str) -> child_process.ChildProcess:
    folder.mkdir()
    question: dict[str, Any] = {"turn": str(folder)}
    if case.setting is not None:
        question |= {"action": "measure", "work": work_name, "case": dataclasses.asdict(case)}
        return child_process.ChildProcess(_WORKER, question, _environment(case.setting), _ROOT)
    work, smoke = WORKS[work_name], work_name == "smoke"
    batch = folder / "batch.npz"
    np.savez(batch, allow_pickle=False, **work.batch(case))
    # On a CPU Inductor needs a C++ compiler, and a smoke run is no measurement.
    question |= {"config": work.config(case.model).to_json_dict(), "batch": str(batch), "steps": work.steps}
    question |= {"smoke": smoke, "compile": not smoke}
    return child_process.ChildProcess(_TORCH_WORKER, question, _environment(PLAIN), _ROOT, python)


def _answer(found: dict[str, Any] | str) -> dict[str, Any] | str:
    return found[FAILED] if isinstance(found, dict) and FAILED in found else found


def _environment(setting: Setting) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith(_CACHES)} | _SET
    flags = " ".join((os.environ.get("XLA_FLAGS", ""), *setting.execution("float32").xla_flags())).strip()
    return found | ({"XLA_FLAGS": flags} if flags else {})
