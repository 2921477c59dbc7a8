"""Repeated measurements: clocks, turns, and medians with their spread."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """Returns median and quartiles; with fewer than four values, minimum and maximum stand for the quartiles.

    None if there are no values.
    """
    if not values:
        return None
    percentiles = (50, 25, 75) if len(values) >= 4 else (50, 0, 100)
    return Spread(*np.percentile(values, percentiles).tolist())


def ratios(rival: Sequence[float], reference: Sequence[float]) -> Spread | None:
    """Returns the spread of rival / reference, round by round: what disturbs a round disturbs both."""
    return spread([one / other for one, other in zip(rival, reference, strict=False)])


def turn_order(names: Sequence[str], round_number: int) -> list[str]:
    """Returns the order of a round; who goes first rotates from round to round."""
    start = round_number % max(len(names), 1)
    return [*names[start:], *names[:start]]


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the seconds that a call took, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def repeated(function: Callable[[], float], times: int, limit_seconds: float) -> list[float]:
    """Calls a function that returns seconds up to `times` times, until their sum reaches the limit."""
    found: list[float] = []
    while len(found) < times and sum(found) < limit_seconds:
        found.append(function())
    return found
