"""Starts JAX in a subprocess, so that a runtime that hangs, aborts or keeps the chip open does so there."""

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

# The number of last lines of an error to show; the last line of a traceback is the exception.
_ERROR_LINES = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """The arguments of `tpu.probe`, passed as JSON.

    Attributes:
      distributed: whether to call jax.distributed.initialize first.
      coordinator: its coordinator_address, HOST:PORT; None: JAX detects it.
      num_processes: its num_processes; None: JAX detects it.
      process_id: its process_id; None: JAX detects it.
      timeout_seconds: the time limit of the subprocess.
    """

    distributed: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    timeout_seconds: float = 300


@dataclasses.dataclass(frozen=True)
class Probe:
    """The stages that JAX completed, and the failure that stopped it.

    Attributes:
      stages: the result of each completed stage: "initialize", "devices", "collective".
      failed_at: the stage that did not complete; None if all did.
      error: the last lines of the subprocess's stderr, or a line about the time limit.
      timed_out: whether it exceeded the time limit.
    """

    stages: dict[str, dict[str, Any]]
    failed_at: str | None = None
    error: str = ""
    timed_out: bool = False


def run_probe(
    request: ProbeRequest, environ: Mapping[str, str], program: tuple[str, ...] = (sys.executable, "-m", "tpu.probe")
) -> Probe:
    """Runs `tpu.probe` within the time limit of the request.

    Args:
      request: its arguments.
      environ: its environment variables.
      program: the command, to which the request is appended.
    """
    process = subprocess.Popen(
        [*program, json.dumps(dataclasses.asdict(request))],
        cwd=Path(__file__).resolve().parents[1],
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # a process group, so that its children can be killed with it
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
    """Returns the results of the completed stages, and the name of the stage that started last."""
    stages: dict[str, dict[str, Any]] = {}
    last = "start"
    for line in output.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            report = json.loads(line)
            last = report["stage"]
            if "result" in report:
                stages[last] = report["result"]
    return stages, last


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-_ERROR_LINES:])
