"""Runs a module in a child process, with a JSON request on stdin and a JSON answer on stdout.

JAX takes one platform per process, and a runtime that hangs or aborts does so in the child.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

_ANSWER = "answer: "


class ChildProcess:
    """A child process that is working on a request.

    Args:
        module: the module to run; it calls `read_request` and `write_answer`.
        request: written to its standard input as JSON.
        environment: its environment variables.
        directory: its working directory; None: this process's.
        python: its interpreter; None: this process's. Another environment's has to find the module from `directory`.
    """

    def __init__(
        self,
        module: str,
        request: Mapping[str, Any],
        environment: Mapping[str, str],
        directory: Path | None = None,
        python: str | None = None,
    ) -> None:
        self._stdout, self._stderr = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115
        self._process = subprocess.Popen(
            [python or sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=self._stdout,
            stderr=self._stderr,
            env=dict(environment),
            cwd=directory,
            text=True,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
            json.dump(request, pipe)

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def end(self) -> None:
        """Kills the process unless it has ended, and discards its output."""
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        self._stderr.close()

    def answer(self, limit_seconds: float) -> dict[str, Any] | str:
        """Returns the answer, or a line that says why there is none; kills the process at the limit."""
        try:
            status = self._process.wait(limit_seconds)
            return _parse_output(status, _text(self._stdout), _text(self._stderr))
        except subprocess.TimeoutExpired:
            return f"not done after {limit_seconds:.0f} s"
        finally:
            self.end()


def run(
    module: str,
    request: Mapping[str, Any],
    environment: Mapping[str, str],
    limit_seconds: float,
    directory: Path | None = None,
    python: str | None = None,
) -> dict[str, Any] | str:
    """Runs a `ChildProcess` and returns its answer, or a line that says why there is none."""
    return ChildProcess(module, request, environment, directory, python).answer(limit_seconds)


def read_request() -> dict[str, Any]:
    """Returns the request that the parent process sent (called in the child)."""
    return json.load(sys.stdin)


def write_answer(value: Mapping[str, Any]) -> None:
    """Sends the answer to the parent process (called in the child); other lines on stdout are ignored."""
    print(_ANSWER + json.dumps(value))


def _parse_output(status: int, stdout: str, stderr: str) -> dict[str, Any] | str:
    answers = [line.removeprefix(_ANSWER) for line in stdout.splitlines() if line.startswith(_ANSWER)]
    if status or not answers:
        lines = stderr.strip().splitlines() or [f"exit status {status}, no message"]
        return f"failed: {lines[-1]}"
    return json.loads(answers[-1])


def _text(file: TextIO) -> str:
    file.seek(0)
    return file.read()
