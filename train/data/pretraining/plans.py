"""The plans of the epochs around the one that is read; the next is made in the background, before it is needed."""

import functools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

_Plan = TypeVar("_Plan")

_KEPT = 2  # around the change of an epoch, prefetching and reading are in different ones


class Plans(Generic[_Plan]):
    """Plans by epoch, the few that were asked for last. Threads may share one."""

    def __init__(self, make: Callable[[int], _Plan]) -> None:
        """Makes none yet; `make` gives an epoch's plan, the same each time."""
        self._make = make
        self._kept: OrderedDict[int, Future[_Plan]] = OrderedDict()
        self._lock = threading.Lock()
        self._orders: SimpleQueue[Callable[[], None] | None] | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, epoch: int) -> bool:
        return epoch in self._kept

    def get(self, epoch: int) -> _Plan:
        """Returns a plan; makes it, or waits for it, where it is not there."""
        future, is_new = self._claim(epoch)
        if is_new:
            self._fill(future, epoch)
        return future.result()

    def prepare(self, epoch: int) -> None:
        """Begins to make a plan in the background, unless it is there or in the making."""
        future, is_new = self._claim(epoch)
        if is_new:
            self._background().put(functools.partial(self._fill, future, epoch))

    def _background(self) -> "SimpleQueue[Callable[[], None] | None]":
        """Orders for a thread that ends with this object.

        One for all plans: each new thread gets a heap of its own from the C library, which is 1 MB an epoch of novels.
        """
        with self._lock:
            if self._orders is None:
                self._orders = SimpleQueue()
                weakref.finalize(self, self._orders.put, None)
                threading.Thread(target=_carry_out, args=(self._orders,), daemon=True).start()
            return self._orders

    def _claim(self, epoch: int) -> tuple[Future[_Plan], bool]:
        """The plan's future, and whether the caller has to fill it."""
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
                self._kept.pop(epoch, None)  # the next who asks tries again


def _carry_out(orders: "SimpleQueue[Callable[[], None] | None]") -> None:
    while (order := orders.get()) is not None:
        order()
        del order  # which would keep its plans alive while there is none
