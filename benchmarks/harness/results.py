"""Results: rows grouped by circumstances, in one JSON file that is written whole after each row."""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from train.errors import UserError
from train.machine.files import write_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A measurement of one case; subclasses add the field or property `case`, and the type of `outcome`.

    Attributes:
        started: when it was started.
        load_before: load average of the machine in the minute before.
        outcome: the numbers, or a line of text that says why there are none.
    """

    started: str | None = None
    load_before: float | None = None
    outcome: Any

    @property
    def failed(self) -> bool:
        """Whether there are no numbers."""
        return isinstance(self.outcome, str)


RowT = TypeVar("RowT", bound=Row)


@dataclasses.dataclass(frozen=True)
class Series(Generic[RowT]):
    """Rows measured under the same circumstances, so that they may be compared."""

    circumstances: Mapping[str, Any]
    rows: list[RowT]

    @property
    def measured(self) -> dict[Any, Any]:
        """The numbers by case, without the cases that failed."""
        return {_case(row): row.outcome for row in self.rows if not row.failed}


class Results(Generic[RowT]):
    """The series of one file.

    Args:
        file: JSON; it need not exist yet.
        row_type: the dataclass of a row.
        upgrade: converts the file's content from an older form.

    Raises:
        UserError: if the file has another form.
    """

    def __init__(self, file: Path, row_type: type[RowT], upgrade: Callable[[Any], Any] = lambda record: record) -> None:
        def parse(record: Any) -> list[Series[RowT]]:
            known = upgrade(record)["series"]
            return [Series(one["circumstances"], decode(list[row_type], one["rows"])) for one in known]

        self._file = file
        self.series: list[Series[RowT]] = read(file, parse, [])

    def select(self, circumstances: Mapping[str, Any]) -> Self:
        """Makes the series with these circumstances the current one; adds an empty one if there is none."""
        known = [one for one in self.series if one.circumstances == circumstances]
        self.series = [one for one in self.series if one not in known] + (known or [Series(circumstances, [])])
        return self

    @property
    def current(self) -> Series[RowT]:
        """The series that rows are added to, which is the last one."""
        return self.series[-1]

    def put(self, row: RowT) -> None:
        """Adds a row to the current series in place of an earlier row of the same case, and writes the file."""
        self.current.rows[:] = [*(one for one in self.current.rows if _case(one) != _case(row)), row]
        self.write()

    def write(self) -> None:
        """Writes all series."""
        write(self._file, {"series": [dataclasses.asdict(one) for one in self.series]})


Parsed = TypeVar("Parsed")


def read(file: Path, parse: Callable[[Any], Parsed], absent: Parsed) -> Parsed:
    """Parses a JSON file; returns `absent` if there is no file.

    Raises:
        UserError: if the content does not fit.
    """
    if not file.exists():
        return absent
    try:
        return parse(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError):
        message = f"{file} was not written by this version of the command: give another --output, or move the file"
        raise UserError(message) from None


def write(file: Path, record: Any) -> None:
    """Writes a JSON file whole: a reader sees the old content or the new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, record)


def decode(hint: Any, record: Any) -> Any:
    """Builds the value of a type hint from JSON: dataclasses, named tuples, lists, and unions with None or str.

    Raises:
        KeyError: if a field is missing.
        TypeError: if there is an unknown field, or the wrong container.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        plain = record is None or (isinstance(record, str) and str in arguments)
        other = [one for one in arguments if one not in (str, type(None))]
        return record if plain or not other else decode(other[0], record)
    if origin in (list, Sequence):
        return [decode(arguments[0], one) for one in record]
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{name: decode(hints[name], value) for name, value in record.items()})  # type: ignore[operator]
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return hint(
            *(decode(one, value) for one, value in zip(typing.get_type_hints(hint).values(), record, strict=True))
        )
    return record


def _case(row: Any) -> Any:
    return row.case
