"""What was measured, under which circumstances, the file that keeps it, and the figures that are read from it."""

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.errors import UserError
from train.whole_writes import write_json

FILE = "study.json"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A question to a worker, when it was put, and what came of it: figures, or why there are none."""

    asked: Mapping[str, Any]
    started: str
    load_before: float
    outcome: Mapping[str, Any] | str


@dataclasses.dataclass(frozen=True)
class Series:
    """Entries that may be compared: the same device, versions and commit."""

    circumstances: Mapping[str, Any]
    entries: list[Entry]

    def has(self, asked: Mapping[str, Any]) -> bool:
        """Whether this very question has been answered."""
        return any(one.asked == asked and not isinstance(one.outcome, str) for one in self.entries)

    def put(self, entry: Entry) -> None:
        """Adds an entry in place of the row's earlier one of the same part."""
        self.entries[:] = [*(one for one in self.entries if _place(one) != _place(entry)), entry]


def read(folder: Path) -> list[Series]:
    """The series of a folder; none where there is no file.

    Raises:
        UserError: the file is not of this command's present form.
    """
    file = folder / FILE
    if not file.exists():
        return []
    try:
        series = json.loads(file.read_text(encoding="utf-8"))["series"]
        return [Series(one["circumstances"], [Entry(**entry) for entry in one["entries"]]) for one in series]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} was not written by this command as it is now: give another --output") from None


def series_of(known: list[Series], circumstances: Mapping[str, Any]) -> Series:
    """The series with these circumstances, last in the list; a new one where there is none."""
    own = next((one for one in known if one.circumstances == circumstances), Series(circumstances, []))
    known[:] = [*(one for one in known if one is not own), own]
    return own


def write(folder: Path, known: Sequence[Series]) -> None:
    """Writes all series."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, {"series": [dataclasses.asdict(one) for one in known]})


class Figures:
    """The figures of a series by row; None where there is none."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._found = {_place(one): one.outcome for one in entries if not isinstance(one.outcome, str)}

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
        """Correlation with STS-B's judgements, in percent."""
        return self._get(row, "quality", "spearman")

    def _get(self, row: str, part: str, *path: str) -> Any:
        found: Any = self._found.get((row, part))
        for name in path:
            found = None if found is None else found.get(name)
        return found


def quartiles(seconds: Sequence[float]) -> tuple[float, float]:
    """The quartiles of runs; the least and the most where there are fewer than four."""
    if len(seconds) < 4:
        return min(seconds), max(seconds)
    first, _, third = statistics.quantiles(seconds, n=4, method="inclusive")
    return first, third


def _median(seconds: Sequence[float] | None) -> float | None:
    return statistics.median(seconds) if seconds else None


def _place(entry: Entry) -> tuple[str, str]:
    return entry.asked["row"], entry.asked["part"]
