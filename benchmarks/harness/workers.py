"""The driver's side of the protocol: a worker is a process, so nothing that one case leaves in memory helps another.

JAX takes one platform per process and the memory of a GPU at once, so the commands themselves do not start it.
"""

import contextlib
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
_EXIT_SECONDS = 20.0


class WorkerError(Exception):
    """A worker answered with an error, took too long, or ended; the message says which."""


class Worker:
    """A process that runs a module calling `serving.serve`; a context manager that ends it.

    Args:
        module: its dotted name, importable from the repository's root.
        environment: environment variables of the process.
        python: the interpreter; the running one by default.
        log: a file that the worker's output is appended to; error messages then name it.
    """

    def __init__(
        self, module: str, environment: Mapping[str, str], *, python: Path | str | None = None, log: Path | None = None
    ) -> None:
        self._log = log
        self._output = log.open("a+b") if log else tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(python or sys.executable), "-m", module],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            text=True,
            encoding="utf-8",
        )
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, do: str, **arguments: Any) -> None:
        """Sends a request without waiting for its answer."""
        with contextlib.suppress(BrokenPipeError):  # `receive` reports the end of the process
            self._stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._stdin.flush()

    @property
    def has_answered(self) -> bool:
        """Whether `receive` would return or raise at once."""
        return not self._answers.empty()

    def receive(self, limit_seconds: float) -> dict[str, Any]:
        """Returns the next answer.

        Raises:
            WorkerError: if the answer is an error, or there is none within the limit; the process is then ended.
        """
        try:
            line = self._answers.get(timeout=limit_seconds)
        except queue.Empty:
            self.kill()
            raise WorkerError(f"not done after {limit_seconds:.0f} s") from None
        if not line:
            raise WorkerError(f"failed: {self._ending()}{self._see_log()}")
        found = json.loads(line)
        if "error" in found:
            raise WorkerError(f"{found['error']}{self._see_log()}")
        return found

    def ask(self, do: str, limit_seconds: float, **arguments: Any) -> dict[str, Any]:
        """Sends a request and returns its answer; raises as `receive`."""
        self.send(do, **arguments)
        return self.receive(limit_seconds)

    def kill(self) -> None:
        """Ends the process now; its files stay open until `close`."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Closes the input, which ends the worker, and kills the process if it does not end."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._stdout.close()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error:
            self._process.kill()
        self.close()

    def _read(self) -> None:
        for line in self._stdout:
            self._answers.put(line)
        self._answers.put("")

    def _ending(self) -> str:
        status = self._process.wait()
        self._answers.put("")  # so that each later `receive` raises too
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"{how}, {lines[-1] if lines else 'no message'}"

    def _see_log(self) -> str:
        return f"; see {self._log}" if self._log else ""


def ask(
    module: str, environment: Mapping[str, str], do: str, limit_seconds: float, **arguments: Any
) -> dict[str, Any] | str:
    """Starts a worker for one request; returns its answer, or the reason why there is none."""
    with Worker(module, environment) as worker:
        try:
            return worker.ask(do, limit_seconds, **arguments)
        except WorkerError as error:
            return str(error)
