"""Worker processes: fresh ones, that leave signals to their parent and end with it."""

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

# Items sent ahead for each worker: one that it works on and one that waits.
_AHEAD = 2


def num_cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def follow_parent() -> None:
    """Ties a worker to its parent: signals sent to the whole group are the parent's to answer; its death ends both.

    A SIGTERM that the parent itself sends ends the worker: so a pool rids itself of the others when one was killed.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # pending for the thread that looks who sent it
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # for threads that were there before
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_when_told, args=(parent.pid,), daemon=True).start()
        threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()


def ordered_map(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int, begin: Callable[[], None]
) -> Iterator[_Result]:
    """Applies `function` to items in worker processes; results come in the items' order, few of them made ahead.

    Workers are spawned, not forked: a fork of a process with threads, as JAX's, may hang. A script that asks for some
    needs the guard `if __name__ == "__main__":`.

    Args:
        function: importable from its module, as its arguments and results must be picklable.
        items: taken as they are needed.
        workers: number of processes.
        begin: called once in each worker before the first item.

    Raises:
        RunError: if a worker was killed.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin, (begin,))
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            with _signals_held():
                waiting.append(pool.submit(function, item))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process was killed, perhaps for want of memory. Ask for fewer (data.prepare_workers); the same "
            "command goes on from what is finished"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Holds signals back until the end, in this thread and, for good, in the processes that it starts meanwhile.

    A handler that raises while a pool starts its processes leaves some that nobody ever stops; and a process that is
    hit by a signal to the whole group before it could prepare for it breaks the pool.
    """
    if threading.current_thread() is not threading.main_thread():  # Python runs handlers in the main thread only
        yield
        return
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in _SIGNALS}
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def _begin(begin: Callable[[], None]) -> None:
    follow_parent()
    begin()


def _leave_when_told(parent: int) -> None:
    while signal.sigwaitinfo((signal.SIGTERM,)).si_pid != parent:
        pass
    os._exit(1)


def _leave_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)  # waiting for room in a queue that nobody reads any more would never end
