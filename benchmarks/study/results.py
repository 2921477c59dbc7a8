"""What was asked and answered, and the figures that are read from it."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.series import Series

FILE = "study.json"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A question to a worker, when it was put, and what came of it: figures, or why there are none."""

    asked: Mapping[str, Any]
    started: str
    load_before: float
    outcome: Mapping[str, Any] | str

    @property
    def place(self) -> tuple[str, str]:
        """The row and the part: a series has one answer of each."""
        return self.asked["row"], self.asked["part"]


def entry_of(record: Mapping[str, Any]) -> Entry:
    """An entry from its record."""
    return Entry(**record)


def has(series: Series[Entry], asked: Mapping[str, Any]) -> bool:
    """Whether this very question has been answered."""
    return any(one.asked == asked and not isinstance(one.outcome, str) for one in series.rows)


class Figures:
    """The figures of a series by row; None where there is none."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._found = {one.place: one.outcome for one in entries if not isinstance(one.outcome, str)}

    def part(self, row: str, part: str) -> Mapping[str, Any] | None:
        """All of a measurement."""
        return self._found.get((row, part))

    def parameters(self, row: str) -> float | None:
        """Parameters of the encoder, with its pooler where it has one."""
        return self._get(row, "size", "parameters")

    def disk_bytes(self, row: str) -> float | None:
        """Bytes of the file."""
        return self._get(row, "disk", "bytes")

    def latency(self, row: str, length: int | str) -> float | None:
        """Median seconds of one row."""
        return _median(self._get(row, "latency", "seconds", str(length)))

    def throughput(self, row: str, length: int | str) -> float | None:
        """Real tokens a second in batches."""
        seconds = _median(self._get(row, "throughput", "seconds", str(length)))
        return None if seconds is None else self._found[row, "throughput"]["tokens"][str(length)] / seconds

    def warm_pass(self, row: str) -> float | None:
        """Median seconds of the STS-B pass."""
        return _median(self._get(row, "pass", "warm"))

    def cold_pass(self, row: str) -> float | None:
        """Seconds of the first STS-B pass."""
        return self._get(row, "pass", "cold")

    def training(self, row: str) -> float | None:
        """Real tokens a second in training."""
        seconds = _median(self._get(row, "training", "seconds"))
        return None if seconds is None else self._found[row, "training"]["tokens"] / seconds

    def memory(self, row: str, kind: str) -> float | None:
        """Bytes at most; `kind` is "inference" or "training"."""
        return self._get(row, f"{kind}_memory", "bytes")

    def spearman(self, row: str) -> float | None:
        """Correlation with STS-B's judgments, in percent."""
        return self._get(row, "quality", "spearman")

    def _get(self, row: str, part: str, *path: str) -> Any:
        found: Any = self._found.get((row, part))
        for name in path:
            found = None if found is None else found.get(name)
        return found


def _median(seconds: Sequence[float] | None) -> float | None:
    return statistics.median(seconds) if seconds else None
