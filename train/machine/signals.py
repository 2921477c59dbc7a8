"""Signals that ask a job to stop: the first stops it at the next safe place, the third kills it.

SIGTERM is what a preempted TPU or a scheduler sends, SIGINT is Ctrl-C.

While modules are imported a signal ends the process where it stands. An exception raised there is taken for a package
that cannot be had, or leaves half of one behind; and nothing is in flight yet.
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
    """Holds the process's answer to SIGTERM and SIGINT while it is entered.

    Outside `deferred()` a signal raises `StopError` where the main thread stands: nothing but staged files is in
    flight there. Inside, it only sets `signal_name`, and the loop saves at the next step boundary.

    Args:
      ends_process: the process ends where the guard is left: once it was asked to stop, nobody's further signals shall
        change the status that it ends with.
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
        """Signals set a flag inside, instead of raising."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        name = signal.Signals(number).name
        if self._count > 2:
            _say(f"{name} for the third time: killed; the last complete checkpoint stands")
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._count == 2:
            _say(f"{name}: already stopping; once more kills, and loses the steps since the last checkpoint")
        else:
            self.signal_name = name
            if not self._deferred:
                if self._ends_process and _is_importing(frame):
                    _end(number, frame)
                raise StopError(f"stopped by {name} outside the training steps; the same command continues")
            _say(f"{name}: saving at the end of this step")


def end_at_a_signal() -> None:
    """Lets a signal end this process with the status of one that was stopped, until a `Guard` is entered."""
    for number in _SIGNALS:
        signal.signal(number, _end)


def leave(status: int) -> NoReturn:
    """Ends the process without taking the interpreter apart.

    Threads of JAX and of TensorStore that are still at work, as where a compilation was interrupted, find their modules
    gone then, and the process ends in a segmentation fault instead of its status.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    _kill_children()
    os._exit(status)


def _end(number: int, _frame: FrameType | None) -> None:
    _say(f"stopped by {signal.Signals(number).name} before the training steps; the same command continues")
    _kill_children()
    os._exit(StopError.status)


def _kill_children() -> None:
    """What multiprocessing would do at the exit that is left out: daemons end with their parent."""
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


def _say(line: str) -> None:
    # print() may be interrupted by this very handler, and its buffer is not re-entrant; write(2) is.
    os.write(2, f"\n{line}\n".encode())
