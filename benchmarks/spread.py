"""What repeated measurements say: a median, and how far they lie apart."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """A median and the quartiles about it."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """Of some values; None of none. Of fewer than four, the least and the most stand for the quartiles."""
    if not values:
        return None
    if len(values) < 4:
        return Spread(statistics.median(values), min(values), max(values))
    return Spread(*(statistics.quantiles(values, n=4, method="inclusive")[one] for one in (1, 0, 2)))
