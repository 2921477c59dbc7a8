"""A question to a process of its own, and its answer: JAX takes one platform in a process, and may hang there."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

_ANSWER = "answer: "


class Asked:
    """A question that a process of its own is working on.

    Args:
        module: its name; it calls `asked` and `answer`.
        question: as JSON.
        environment: the process's.
        directory: where it runs; this process's own if None.
        python: the interpreter, this process's own if None; one of another environment has to find the module from
            `directory`.
    """

    def __init__(
        self,
        module: str,
        question: Mapping[str, Any],
        environment: Mapping[str, str],
        directory: Path | None = None,
        python: str | None = None,
    ) -> None:
        self._said, self._complained = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115
        self._process = subprocess.Popen(
            [python or sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._complained,
            env=dict(environment),
            cwd=directory,
            text=True,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
            json.dump(question, pipe)

    @property
    def ended(self) -> bool:
        """Whether the process is over."""
        return self._process.poll() is not None

    def end(self) -> None:
        """Ends the process, if it has not ended; what it said is then gone."""
        self._process.kill()
        self._process.wait()
        self._said.close()
        self._complained.close()

    def answer(self, limit_seconds: float) -> dict[str, Any] | str:
        """What it answers, or why it does not; a process that takes longer than the limit is ended."""
        try:
            status = self._process.wait(limit_seconds)
            return _read(status, _text(self._said), _text(self._complained))
        except subprocess.TimeoutExpired:
            return f"not done after {limit_seconds:.0f} s"
        finally:
            self.end()


def ask(
    module: str,
    question: Mapping[str, Any],
    environment: Mapping[str, str],
    limit_seconds: float,
    directory: Path | None = None,
    python: str | None = None,
) -> dict[str, Any] | str:
    """`Asked`, waited for: what it answered, or why it does not."""
    return Asked(module, question, environment, directory, python).answer(limit_seconds)


def _read(status: int, said: str, complained: str) -> dict[str, Any] | str:
    found = [line.removeprefix(_ANSWER) for line in said.splitlines() if line.startswith(_ANSWER)]
    if status or not found:
        lines = complained.strip().splitlines() or [f"exit status {status}, no message"]
        return f"failed: {lines[-1]}"
    return json.loads(found[-1])


def _text(file: TextIO) -> str:
    file.seek(0)
    return file.read()


def asked() -> dict[str, Any]:
    """The question to this process."""
    return json.load(sys.stdin)


def answer(value: Mapping[str, Any]) -> None:
    """Answers it; libraries may print what they like beside."""
    print(_ANSWER + json.dumps(value))
