"""The driver's side of a conversation with a worker (benchmarks.peers.workers.protocol)."""

import contextlib
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).resolve().parents[2]
_LIMIT_SECONDS = 1800.0
# Flags and caches of the caller's own would be another setting than the one reported.
_DROPPED = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "LIBTPU_INIT_ARGS", "TORCHINDUCTOR_CACHE_DIR")
_SET = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "0",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONPATH": str(_ROOT),
    "PYTHONUNBUFFERED": "1",
}


class WorkerError(Exception):
    """A worker answered with an error, or not at all."""


class Worker:
    """A process that makes cases ready and runs them; a context manager that ends it."""

    def __init__(self, title: str, python: Path | str, module: str, threads: int, log: Path) -> None:
        """Starts the process.

        Args:
            title: what messages call it.
            python: the interpreter of its environment.
            module: name of the worker's module.
            threads: of OpenMP; JAX's follow from the cores that the process may use.
            log: file that everything it prints is appended to.
        """
        self.title, self._log = title, log
        environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
        environment |= _SET | {"OMP_NUM_THREADS": str(threads)}
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [str(python), "-m", module],
                cwd=_ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                encoding="utf-8",
            )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer.

        Raises:
            WorkerError: if the answer is an error, or the process ends or is silent for half an hour.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        guard = threading.Timer(_LIMIT_SECONDS, self._process.kill)
        guard.start()
        try:
            stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            guard.cancel()
        if not line:
            raise WorkerError(f"its process ended ({self._ending()}) when asked to {do}; see {self._log}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"it could not {do}: {answer['error']}; see {self._log}")
        return answer

    def _ending(self) -> str:
        status = self._process.wait()
        return signal.Signals(-status).name if status < 0 else f"status {status}"

    def close(self) -> None:
        """Ends the conversation, and the process if it does not end with it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
