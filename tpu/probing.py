"""Starts JAX in a process of its own, so that a runtime that hangs, aborts or holds the chip does so there."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Lines of an error that are shown: of a traceback the last one says what it was.
_ERROR_LINES = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """What the process is to do; `tpu.probe` reads it as JSON.

    Attributes:
      distributed: call jax.distributed.initialize first.
      coordinator: HOST:PORT for it; None: JAX finds it.
      num_processes: for it; None: JAX finds it.
      process_id: for it; None: JAX finds it.
      timeout_seconds: for all of it.
    """

    distributed: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    timeout_seconds: float = 300


@dataclasses.dataclass(frozen=True)
class Probe:
    """How far JAX came.

    Attributes:
      stages: what each stage that ended told: "initialize", "devices", "collective".
      failed_at: the stage that did not end; None if all did.
      error: what was wrong with it: the end of the standard error output, or the time it was given.
      timed_out: it hung.
    """

    stages: dict[str, dict[str, Any]]
    failed_at: str | None = None
    error: str = ""
    timed_out: bool = False


def run_probe(
    request: ProbeRequest, environ: Mapping[str, str], program: tuple[str, ...] = (sys.executable, "-m", "tpu.probe")
) -> Probe:
    """Runs `tpu.probe`, for as long as the request allows.

    Args:
      request: what it is to do.
      environ: its environment.
      program: the command, to which the request is added.

    Returns:
      How far it came.
    """
    process = subprocess.Popen(
        [*program, json.dumps(dataclasses.asdict(request))],
        cwd=Path(__file__).resolve().parents[1],
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that what it starts ends with it
    )
    timed_out = False
    try:
        output, errors = process.communicate(timeout=request.timeout_seconds)
    except subprocess.TimeoutExpired:
        timed_out = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
    stages, last = _read(output)
    if timed_out:
        return Probe(stages, last, f"not done after {request.timeout_seconds:g} s", timed_out=True)
    if process.returncode:
        return Probe(stages, last, _last_lines(errors) or f"exit status {process.returncode}")
    return Probe(stages)


def _read(output: str) -> tuple[dict[str, dict[str, Any]], str]:
    """What each stage told, and the stage that was begun last."""
    stages: dict[str, dict[str, Any]] = {}
    last = "start"
    for line in output.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            last = told["stage"]
            if "result" in told:
                stages[last] = told["result"]
    return stages, last


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-_ERROR_LINES:])
