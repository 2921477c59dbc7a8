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

    def parameters(self, row: str) -> float | None:
        """Returns the number of the encoder's parameters, with its pooler if it has one."""
        return self._get(row, "size", "parameters")

    def disk_bytes(self, row: str) -> float | None:
        """Returns the size of the file in bytes."""
        return self._get(row, "disk", "bytes")

    def latency(self, row: str, length: int | str) -> float | None:
        """Returns the median seconds of one row."""
        return _median(self._get(row, "latency", "seconds", str(length)))

    def throughput(self, row: str, length: int | str) -> float | None:
        """Returns tokens per second in batches, without padding."""
        seconds = _median(self._get(row, "throughput", "seconds", str(length)))
        return seconds and self._get(row, "throughput", "tokens", str(length)) / seconds

    def warm_pass(self, row: str) -> float | None:
        """Returns the median seconds of the STS-B pass."""
        return _median(self._get(row, "pass", "warm"))

    def cold_pass(self, row: str) -> float | None:
        """Returns the seconds of the first STS-B pass."""
        return self._get(row, "pass", "cold")

    def training(self, row: str) -> float | None:
        """Returns tokens per second in training, without padding."""
        seconds = _median(self._get(row, "training", "seconds"))
        return seconds and self._get(row, "training", "tokens") / seconds

    def memory(self, row: str, kind: str) -> float | None:
        """Returns the peak memory in bytes; `kind` is "inference" or "training"."""
        return self._get(row, f"{kind}_memory", "bytes")

    def spearman(self, row: str) -> float | None:
        """Returns the correlation with STS-B's judgments, in percent."""
        return self._get(row, "quality", "spearman")

    def middle_length(self, rows: Sequence[str]) -> str:
        """Returns the middle one of the lengths whose latency was measured."""
        parts = (self.part(row, "latency") for row in rows)
        lengths = next((list(part["seconds"]) for part in parts if part), ["128"])
        return lengths[len(lengths) // 2]

    def _get(self, row: str, part: str, *path: str) -> Any:
        found: Any = self._found.get((row, part))
        for name in path:
            found = None if found is None else found.get(name)
        return found


def _median(seconds: Sequence[float] | None) -> float | None:
    return statistics.median(seconds) if seconds else None
