"""metrics.jsonl, one JSON object per line with increasing steps; and the clock for times by phase."""

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.machine.files import to_json, write_whole

Row = dict[str, Any]


def read_metrics(path: Path) -> list[Row]:
    """Returns the rows of a metrics file, without an incomplete last line; no rows if the file is missing.

    Raises:
      ValueError: a line before the last is not a JSON object.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # the text after the last newline is incomplete or empty
    rows = [_row(line) for line in lines]
    if None in rows:
        number = rows.index(None)
        raise ValueError(f"{path}, line {number + 1} is not a metrics row: {lines[number][:80]!r}")
    return [row for row in rows if row is not None]


class MetricsWriter:
    """Appends rows and flushes each one, so that a killed process loses none.

    Args:
      path: the file.
      last_step: the step the run starts from; rows after it and incomplete lines are dropped.

    Attributes:
      lost_steps: the number of steps after `last_step` that had rows and will be repeated.
      torn_lines: the number of lines that were not rows.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        self.lost_steps, self.torn_lines = _rewind(path, last_step)
        self._file: io.TextIOWrapper = path.open("a")

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Appends one row. NaN and infinity, which JSON cannot represent, become null."""
        row = {"step": step, "split": split} | {key: _plain(value) for key, value in values.items()}
        self._file.write(to_json(row) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Writes the rows to disk (fsync)."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class LossMean:
    """Computes the mean loss of the steps since the last logged row.

    Each term t of the loss is averaged over all elements of the steps s, then the terms are added up:

        mean_t = (sum_s weight_ts loss_ts) / (sum_s weight_ts),    loss_mean = sum_t factor_t mean_t

    Args:
      factors: the factor of each term.
      sums: {term: [sum of weight * loss, sum of weight]} of steps before a resume, as in `sums`.

    Attributes:
      sums: the sums since the last row. They are saved in checkpoints, so that a resumed run logs the same means.
    """

    def __init__(self, factors: Mapping[str, float], sums: Mapping[str, Sequence[float]] | None = None) -> None:
        self._factors = factors
        self.sums: dict[str, list[float]] = {}
        self.clear()
        if sums is not None and sums.keys() == factors.keys():
            self.sums = {name: list(pair) for name, pair in sums.items()}

    def add(self, metrics: Mapping[str, float]) -> None:
        """Adds a step: its terms and their weights, "NAME_weight" (1 if absent)."""
        for name, pair in self.sums.items():
            weight = metrics.get(f"{name}_weight", 1.0)
            pair[0] += weight * metrics[name]
            pair[1] += weight

    def value(self) -> float:
        """Returns the mean loss; a term without weight counts as 0."""
        means = {name: total / weight if weight else 0.0 for name, (total, weight) in self.sums.items()}
        return sum(factor * means[name] for name, factor in self._factors.items())

    def clear(self) -> None:
        """Starts anew after a row."""
        self.sums = {name: [0.0, 0.0] for name in self._factors}


class Clock:
    """Measures seconds by phase. A nested phase pauses the outer one, so the sum over phases is the elapsed time."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self.started = time.monotonic()
        self._stack: list[str] = []
        self._since = self.started

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Charges the time of the body to `phase`."""
        self._charge()
        self._stack.append(phase)
        try:
            yield
        finally:
            self._charge()
            self._stack.pop()

    def total(self) -> float:
        """Returns the seconds since the clock was created."""
        return time.monotonic() - self.started

    def read(self) -> dict[str, float]:
        """Returns the seconds of every phase so far."""
        self._charge()
        return dict(self._seconds)

    def _charge(self) -> None:
        now = time.monotonic()
        if self._stack:
            self._seconds[self._stack[-1]] = self._seconds.get(self._stack[-1], 0.0) + now - self._since
        self._since = now


def _rewind(path: Path, last_step: int) -> tuple[int, int]:
    """Drops incomplete lines and rows after `last_step`; returns the number of lost steps and of incomplete lines."""
    if not path.exists():
        return 0, 0
    content = path.read_bytes()
    rows = [_row(line) for line in content.split(b"\n") if line]
    good = [row for row in rows if row is not None]
    kept = "".join(json.dumps(row) + "\n" for row in good if row["step"] <= last_step).encode()
    if kept != content:
        write_whole(path, kept)
    return max([last_step, *(row["step"] for row in good)]) - last_step, len(rows) - len(good)


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _plain(value: float) -> float | int:
    return value if isinstance(value, int) else float(value)
