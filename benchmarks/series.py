"""Measurements that may stand side by side, and the file that keeps them."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from train.errors import UserError
from train.machine.files import write_json

Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True)
class Series(Generic[Row]):
    """Rows that may be compared: all of the same circumstances."""

    circumstances: Mapping[str, Any]
    rows: list[Row]

    def put(self, row: Row, place: Callable[[Row], Any]) -> None:
        """Adds a row; it takes the place of an earlier one of the same `place`."""
        self.rows[:] = [*(one for one in self.rows if place(one) != place(row)), row]


def read(file: Path, row: Callable[[Mapping[str, Any]], Row]) -> list[Series[Row]]:
    """The series of a file; none where there is no file.

    Args:
        file: as `write` wrote it.
        row: from its record.

    Raises:
        UserError: the file is not of this command's present form.
    """
    if not file.exists():
        return []
    try:
        record = json.loads(file.read_text(encoding="utf-8"))["series"]
        return [Series(one["circumstances"], [row(found) for found in one["rows"]]) for one in record]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} was not written by this command as it is now: give another --output") from None


def series_of(known: list[Series[Row]], circumstances: Mapping[str, Any]) -> Series[Row]:
    """The series with these circumstances, last in the list; a new one where there is none."""
    own = next((one for one in known if one.circumstances == circumstances), Series[Row](circumstances, []))
    known[:] = [*(one for one in known if one is not own), own]
    return own


def write(file: Path, known: Sequence[Series[Any]]) -> None:
    """Writes all series, whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"series": [dataclasses.asdict(one) for one in known]})
