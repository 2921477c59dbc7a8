"""Runs a module in a child process, with a JSON request on stdin and a JSON answer on stdout.

JAX takes one platform per process, and a runtime that hangs or aborts does so in the child.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

_ANSWER = "answer: "


def run(
    module: str, request: Mapping[str, Any], environment: Mapping[str, str], limit_seconds: float
) -> dict[str, Any] | str:
    """Returns the answer of a module, or a line that says why there is none; kills the process at the limit.

    Args:
        module: the module to run; it calls `read_request` and `write_answer`.
        request: written to its standard input as JSON.
        environment: its environment variables.
        limit_seconds: how long it may take.
    """
    # Files, because a process that the child leaves behind would keep pipes open.
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        try:
            status = subprocess.run(
                [sys.executable, "-m", module],
                input=json.dumps(request),
                stdout=stdout,
                stderr=stderr,
                env=dict(environment),
                timeout=limit_seconds,
                text=True,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return f"not done after {limit_seconds:.0f} s"
        stdout.seek(0)
        stderr.seek(0)
        answers = [line.removeprefix(_ANSWER) for line in stdout if line.startswith(_ANSWER)]
        if status or not answers:
            lines = stderr.read().strip().splitlines() or [f"exit status {status}, no message"]
            return f"failed: {lines[-1]}"
        return json.loads(answers[-1])


def read_request() -> dict[str, Any]:
    """Returns the request that the parent process sent (called in the child)."""
    return json.load(sys.stdin)


def write_answer(value: Mapping[str, Any]) -> None:
    """Sends the answer to the parent process (called in the child); other lines on stdout are ignored."""
    print(_ANSWER + json.dumps(value))
