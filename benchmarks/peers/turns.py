"""What rounds of turns say: medians, quartiles, and ratios round by round."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """A median and the quartiles about it."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """Of some values; None of none. One or two values are their own spread."""
    if not values:
        return None
    if len(values) < 3:
        return Spread(statistics.median(values), min(values), max(values))
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> Spread | None:
    """Theirs over ours in each round that both took: what disturbs a round disturbs both. Above 1, ours is faster."""
    return spread([one / other for one, other in zip(theirs, ours, strict=False)])


def order(names: Sequence[str], round_number: int) -> list[str]:
    """Who goes first changes from round to round."""
    start = round_number % max(len(names), 1)
    return [*names[start:], *names[:start]]
