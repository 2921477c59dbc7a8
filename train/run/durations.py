"""Percentiles of any number of durations, in a bounded memory."""

import itertools
import math

# Buckets grow by 1%, so that a percentile is within half of that. From a microsecond to a day there are some 2500.
_GROWTH = math.log(1.01)
_SHORTEST_SECONDS = 1e-6


class Durations:
    """Counts durations in buckets of equal ratio.

    Attributes:
      longest: seconds of the longest one, exactly.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._counts: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Counts one more."""
        bucket = math.floor(math.log(max(seconds, _SHORTEST_SECONDS)) / _GROWTH)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.longest = max(self.longest, seconds)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def percentile(self, percent: float) -> float:
        """Seconds that `percent` of the durations do not exceed (nearest rank), to half a percent.

        Raises:
          ValueError: there are none.
        """
        if not self._counts:
            raise ValueError("no duration was counted")
        rank = max(math.ceil(percent / 100 * len(self)), 1)
        buckets = sorted(self._counts)
        ranks = itertools.accumulate(self._counts[bucket] for bucket in buckets)
        found = next(bucket for bucket, last in zip(buckets, ranks, strict=True) if last >= rank)
        return min(math.exp((found + 0.5) * _GROWTH), self.longest)
