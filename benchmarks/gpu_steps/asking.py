"""A worker for each case: flax_lite's in this environment, PyTorch's in one of its own."""

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_steps.cases import WORKS, Case, Setting
from benchmarks.gpu_steps.failures import FAILED
from benchmarks.gpu_steps.results import Measurement
from benchmarks.peers.environments import python_of
from benchmarks.peers.rivals import environments
from train.errors import UserError
from train.plan import elsewhere

MAKE, NONE = "make", "none"
_WORKER = "benchmarks.gpu_steps.worker"
_TORCH_WORKER = "benchmarks.gpu_steps.torch_worker"
_ROOT = Path(__file__).resolve().parents[2]
# A case has the GPU to itself: JAX's own 0.75 leaves a quarter to others
# (docs.jax.dev/en/latest/gpu_memory_allocation.html); what remains is for the libraries' own workspaces.
_MEMORY_FRACTION = "0.9"
# A program that a cache held would count as compiled.
_CACHES = ("JAX_COMPILATION_CACHE", "JAX_PERSIST", "TORCHINDUCTOR_CACHE_DIR")
_SET = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "HF_HUB_OFFLINE": "1",
    "XLA_PYTHON_CLIENT_MEM_FRACTION": _MEMORY_FRACTION,
}


def describe(work_name: str, limit_seconds: float) -> dict[str, Any]:
    """Circumstances, peak and floor of the device that is here.

    Raises:
        UserError: there is none that can be measured.
    """
    found = _ask({"action": "describe", "work": work_name}, Setting(), limit_seconds)
    if isinstance(found, str):
        raise UserError(found)
    found["circumstances"] |= {"work": work_name, "memory fraction": _MEMORY_FRACTION}
    return found


def measure(work_name: str, case: Case, python: str, limit_seconds: float) -> Measurement | str:
    """What came of a case, or why nothing did; `python` is that of PyTorch's cases."""
    if case.setting is None:
        found = _ask_torch(work_name, case, python, limit_seconds)
    else:
        question = {"action": "measure", "work": work_name, "case": dataclasses.asdict(case)}
        found = _ask(question, case.setting, limit_seconds)
    return found if isinstance(found, str) else Measurement(**found)


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


def _ask(question: Mapping[str, Any], setting: Setting, limit_seconds: float) -> dict[str, Any] | str:
    flags = " ".join((os.environ.get("XLA_FLAGS", ""), *setting.execution("float32").xla_flags())).strip()
    environment = _environment() | ({"XLA_FLAGS": flags} if flags else {})
    return _answer(elsewhere.ask(_WORKER, question, environment, limit_seconds, _ROOT))


def _ask_torch(work_name: str, case: Case, python: str, limit_seconds: float) -> dict[str, Any] | str:
    work, smoke = WORKS[work_name], work_name == "smoke"
    with tempfile.TemporaryDirectory(prefix="gpu_steps-") as folder:
        batch = Path(folder) / "batch.npz"
        np.savez(batch, allow_pickle=False, **work.batch(case))
        # On a CPU Inductor needs a C++ compiler, and a smoke run is no measurement.
        question = {"config": work.config(case.model).to_json_dict(), "batch": str(batch), "steps": work.steps}
        question |= {"smoke": smoke, "compile": not smoke}
        return _answer(elsewhere.ask(_TORCH_WORKER, question, _environment(), limit_seconds, _ROOT, python))


def _answer(found: dict[str, Any] | str) -> dict[str, Any] | str:
    return found[FAILED] if isinstance(found, dict) and FAILED in found else found


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_CACHES)} | _SET
