"""Worker processes that leave signals to their parent and end with it."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import TypeVar

from train.errors import RunError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Items in flight per worker: one being processed and one queued.
_IN_FLIGHT = 2


def num_cores() -> int:
    """Returns the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def follow_parent() -> None:
    """Makes a worker process ignore signals to the process group and end when its parent dies.

    A SIGTERM sent by the parent itself does end the worker: that is how a pool ends the others after one was killed.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # left pending for the thread that checks the sender
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # for threads that exist already
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_on_sigterm_of, args=(parent.pid,), daemon=True).start()
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def ordered_map(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int, initializer: Callable[[], None]
) -> Iterator[_Result]:
    """Applies `function` to items in worker processes; yields the results in the items' order, computing few ahead.

    Workers are spawned: a fork of a process with threads, which JAX has, may hang. A script that calls this needs the
    guard `if __name__ == "__main__":`.

    Args:
        function: must be importable from its module, with picklable arguments and results.
        items: consumed as needed.
        workers: the number of processes.
        initializer: called once in each worker before its first item.

    Raises:
        RunError: a worker was killed.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _initialize, (initializer,))
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            with _signals_deferred():
                waiting.append(pool.submit(function, item))
            if len(waiting) >= _IN_FLIGHT * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process was killed, perhaps because memory ran out. Use fewer (data.prepare_workers); the same "
            "command resumes from the finished part"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Defers signals until the context ends; processes started inside keep them blocked.

    A handler that raises while a pool starts its processes would leave processes that nobody stops, and a new process
    that receives a signal to the group before it has called `follow_parent` would break the pool.
    """
    if threading.current_thread() is not threading.main_thread():  # Python runs handlers in the main thread only
        yield
        return
    received: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _frame: received.append(number)) for number in _SIGNALS}
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in received:
            signal.raise_signal(number)


def _initialize(initializer: Callable[[], None]) -> None:
    follow_parent()
    initializer()


def _exit_on_sigterm_of(parent: int) -> None:
    while signal.sigwaitinfo((signal.SIGTERM,)).si_pid != parent:
        pass
    os._exit(1)


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)  # a normal exit would wait forever for room in a queue without a reader
