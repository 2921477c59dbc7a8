"""Handling of SIGTERM and SIGINT: the first signal stops the job at the next safe point, the third kills it.

SIGTERM comes from a preempted TPU or a scheduler, SIGINT from Ctrl-C.

During imports a signal ends the process at once. An exception raised there would be mistaken for a missing package or
leave a package half imported, and there is nothing to save yet.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from train.errors import StopError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Guard:
    """A context manager that installs the job's handlers of SIGTERM and SIGINT.

    Outside `deferred()` a signal raises `StopError` in the main thread; only staged files can be incomplete then.
    Inside `deferred()` it sets `signal_name`, and the loop saves at the next step boundary.

    Args:
      ends_process: whether the process ends when the context is left. After a signal, further signals are then ignored,
        so that they do not change the exit status.

    Attributes:
      signal_name: the first signal received, or None.
    """

    def __init__(self, ends_process: bool = False) -> None:
        self._ends_process = ends_process
        self.signal_name: str | None = None
        self._count = 0
        self._deferred = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Guard":
        if threading.current_thread() is threading.main_thread():  # Python sets handlers in the main thread only
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            ignored = self._ends_process and self._count
            signal.signal(number, signal.SIG_IGN if ignored else handler)  # pyright: ignore[reportArgumentType]
        self._previous = {}

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within this context a signal sets `signal_name` instead of raising."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        name = signal.Signals(number).name
        if self._count > 2:
            _print_error(f"{name} for the third time: killed; the last complete checkpoint is kept")
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._count == 2:
            _print_error(f"{name}: already stopping; one more kills, losing the steps since the last checkpoint")
        else:
            self.signal_name = name
            if not self._deferred:
                if self._ends_process and _is_importing(frame):
                    _end(number, frame)
                raise StopError(f"stopped by {name} outside the training steps; the same command continues")
            _print_error(f"{name}: saving at the end of this step")


def end_at_a_signal() -> None:
    """Makes a signal end this process with the exit status of a stopped job, until a `Guard` is entered."""
    for number in _SIGNALS:
        signal.signal(number, _end)


def leave(status: int) -> NoReturn:
    """Ends the process without the interpreter's shutdown.

    Threads of JAX and TensorStore that still run, for example after an interrupted compilation, would access unloaded
    modules during a normal shutdown and end the process with a segmentation fault instead of its exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    _kill_children()
    os._exit(status)


def _end(number: int, _frame: FrameType | None) -> None:
    _print_error(f"stopped by {signal.Signals(number).name} before the training steps; the same command continues")
    _kill_children()
    os._exit(StopError.status)


def _kill_children() -> None:
    """Kills daemon processes, as multiprocessing would do at a normal exit."""
    if (multiprocessing := sys.modules.get("multiprocessing")) is not None:
        with contextlib.suppress(Exception):
            for child in multiprocessing.active_children():
                child.kill()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _print_error(line: str) -> None:
    # This runs in a signal handler: print() has a buffer that is not re-entrant, write(2) has none.
    os.write(2, f"\n{line}\n".encode())
