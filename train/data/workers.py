"""Worker processes: fresh ones, that leave signals to their parent and end with it."""

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

# Items sent ahead for each worker: one that it works on and one that waits.
_AHEAD = 2


def num_cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def follow_parent() -> None:
    """Ties a worker to its parent: signals sent to the whole group are the parent's to answer; its death ends both."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
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


def _begin(begin: Callable[[], None]) -> None:
    follow_parent()
    begin()


def _leave_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)  # waiting for room in a queue that nobody reads any more would never end
