"""Environments of the rivals, made with venv and pip where they are not there yet."""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.rivals import Environment

_STAMP = "installed.txt"


class SetupError(Exception):
    """An environment cannot be made; the message says why."""


def python_of(folder: Path, wanted: Environment) -> Path:
    """The interpreter of an environment, which is made, or made anew, unless it holds exactly what is wanted.

    Raises:
        SetupError: if venv or pip fails.
    """
    python, stamp = folder / "bin" / "python", folder / _STAMP
    told = "\n".join((*wanted.requirements, *(f"alone: {one}" for one in wanted.alone), ""))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == told:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"making {folder}: {', '.join((*wanted.requirements, *wanted.alone))}", file=sys.stderr, flush=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *wanted.requirements])
    if wanted.alone:
        _run([*pip, "--no-deps", *wanted.alone])
    stamp.write_text(told, encoding="utf-8")
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SetupError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["it said nothing"]
        raise SetupError(f"{' '.join(command[1:4])} ended with {done.returncode}: {errors[0]}")
