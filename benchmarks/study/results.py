"""The rows of the study, and the figures that are read from them."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness import results
from benchmarks.harness.results import Series


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row(results.Row):
    """A question to a worker, and its answer."""

    asked: Mapping[str, Any]
    outcome: Mapping[str, Any] | str

    @property
    def case(self) -> tuple[str, str]:
        """The encoder and the measurement: a series has one answer for each pair."""
        return self.asked["row"], self.asked["part"]


def has(series: Series[Row], asked: Mapping[str, Any]) -> bool:
    """Returns whether this question, with these settings, has been answered."""
    return any(row.asked == asked and not row.failed for row in series.rows)


class Figures:
    """The figures of rows by encoder; None if one was not measured."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._found = {row.case: row.outcome for row in rows if not row.failed}

    def part(self, row: str, part: str) -> Mapping[str, Any] | None:
        """Returns the whole answer of a measurement."""
        return self._found.get((row, part))  # type: ignore[return-value]

    def number(self, row: str, part: str, *path: str) -> float | None:
        """Returns the number at a path of a measurement, or the median of a list of numbers."""
        found: Any = self._found.get((row, part))
        for name in path:
            found = None if found is None else found.get(name)
        return (statistics.median(found) if found else None) if isinstance(found, list) else found

    def rate(self, row: str, part: str, *path: str) -> float | None:
        """Returns tokens per second, without padding; `path` is the length, if a measurement has several."""
        seconds, tokens = (self.number(row, part, name, *path) for name in ("seconds", "tokens"))
        return None if seconds is None or tokens is None else tokens / seconds

    def middle_length(self, rows: Sequence[str]) -> str:
        """Returns the middle one of the lengths whose latency was measured."""
        parts = (self.part(row, "latency") for row in rows)
        lengths = next((list(part["seconds"]) for part in parts if part), ["128"])
        return lengths[len(lengths) // 2]
