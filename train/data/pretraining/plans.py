"""A cache of epoch plans; the plan of the next epoch is computed in the background before it is needed."""

import functools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

_Plan = TypeVar("_Plan")

_KEPT = 2  # at the end of an epoch, prefetching is one epoch ahead of reading


class Plans(Generic[_Plan]):
    """The most recently used plans by epoch. It is thread-safe.

    It is not `functools.lru_cache`, with which two threads compute the same plan twice, and not a `ThreadPoolExecutor`,
    which is joined at exit and would wait for a plan that is no longer needed.
    """

    def __init__(self, make: Callable[[int], _Plan]) -> None:
        """Creates an empty cache; `make` computes the plan of an epoch deterministically."""
        self._make = make
        self._kept: OrderedDict[int, Future[_Plan]] = OrderedDict()
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[Callable[[], None] | None] | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, epoch: int) -> bool:
        return epoch in self._kept

    def get(self, epoch: int) -> _Plan:
        """Returns a plan; computes it, or waits for it, if it is not cached."""
        future, is_new = self._claim(epoch)
        if is_new:
            self._fill(future, epoch)
        return future.result()

    def prepare(self, epoch: int) -> None:
        """Starts to compute a plan in the background, unless it is cached or being computed."""
        future, is_new = self._claim(epoch)
        if is_new:
            self._background().put(functools.partial(self._fill, future, epoch))

    def _background(self) -> "SimpleQueue[Callable[[], None] | None]":
        """Returns the task queue of a background thread that ends with this object.

        One thread computes all plans: the C library allocates a new heap for every thread, 1 MB per epoch of novels.
        """
        with self._lock:
            if self._tasks is None:
                self._tasks = SimpleQueue()
                weakref.finalize(self, self._tasks.put, None)
                threading.Thread(target=_run_tasks, args=(self._tasks,), daemon=True).start()
            return self._tasks

    def _claim(self, epoch: int) -> tuple[Future[_Plan], bool]:
        """Returns the future of a plan, and whether the caller has to compute it."""
        with self._lock:
            is_new = epoch not in self._kept
            if is_new:
                self._kept[epoch] = Future()
            self._kept.move_to_end(epoch)
            future = self._kept[epoch]
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return future, is_new

    def _fill(self, future: Future[_Plan], epoch: int) -> None:
        try:
            future.set_result(self._make(epoch))
        except BaseException as error:
            future.set_exception(error)
            with self._lock:
                self._kept.pop(epoch, None)  # the next call tries again


def _run_tasks(tasks: "SimpleQueue[Callable[[], None] | None]") -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # it refers to the plans, which would stay alive until the next task
