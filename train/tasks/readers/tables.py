"""Reads files of labeled examples as rows: tab separated values, CSV, or JSON lines."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flax_lite.files import tables
from train.errors import UserError
from train.options.schema import nearest
from train.tasks.readers.label_names import is_missing, label_name
from train.tasks.readers.lines import MissingColumnError, user_errors


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: its fields by column, and the number of its line."""

    fields: dict[str, Any]
    path: Path
    line: int

    @property
    def location(self) -> str:
        """The location of the row, for messages."""
        return f"{self.path}, line {self.line}"

    def text(self, column: str, *, may_be_empty: bool = False) -> str:
        """Returns the text of a column without stripping it, because white space may matter to the tokenizer.

        Raises:
            UserError: if the column is missing, or its value is not a text, or only white space.
        """
        value = self.value(column)
        if not isinstance(value, str):
            raise UserError(f"{self.location}: column {column!r} holds {value!r:.200}, expected a text.")
        if not value.strip() and not may_be_empty:
            raise UserError(f"{self.location}: the text in column {column!r} is empty. Fill it in or remove the row.")
        return value

    def name(self, column: str) -> str:
        """Returns an id or a label as text: a stripped text, or a number in JSON's notation.

        Raises:
            UserError: if the column is missing, or its value is neither.
        """
        value = self.value(column)
        if is_missing(value):
            raise UserError(f"{self.location}: column {column!r} is empty. Fill it in or remove the row.")
        if isinstance(value, (list, dict)):
            raise UserError(f"{self.location}: column {column!r} holds {value!r:.200}, expected a name or a number.")
        return label_name(value)

    def value(self, column: str) -> Any:
        """Returns the value of a column.

        Raises:
            MissingColumnError: if the column is missing.
        """
        if column not in self.fields:
            raise missing_column_error(column, list(self.fields), self.location)
        return self.fields[column]


def missing_column_error(column: str, columns: Sequence[str], where: object) -> MissingColumnError:
    """Returns the error for a missing column."""
    return MissingColumnError(
        f"{where} has no column {column!r}{nearest(column, columns)}. "
        f"It has: {', '.join(map(repr, columns)) or 'none'}."
    )


def read_rows(
    path: Path,
    columns: Sequence[str] = (),
    *,
    separator: str = "auto",
    notes: list[str] | None = None,
    errors: list[str] | None = None,
) -> Iterator[Row]:
    """Yields the rows of a file in the format of its ending, see `flax_lite.files.tables.read_rows`.

    Raises:
        UserError: if the ending is unknown, or the file does not have its format.
    """
    return _rows(path, lambda: tables.read_rows(path, columns, separator=separator, notes=notes, errors=errors))


def tsv_rows(
    path: Path, columns: Sequence[str] = (), *, on_bad_row: Callable[[int], None] | None = None
) -> Iterator[Row]:
    """Yields the rows of a file of tab separated values without quotes, see `flax_lite.files.tables.tsv_rows`.

    Raises:
        UserError: if there is no row, or a row has a wrong number of fields.
    """
    return _rows(path, lambda: tables.tsv_rows(path, columns, on_bad_row=on_bad_row))


def json_rows(path: Path) -> Iterator[Row]:
    """Yields the objects of a file with one JSON object per line.

    Raises:
        UserError: if there is none, or a line is not a JSON object.
    """
    return _rows(path, lambda: tables.json_rows(path))


def _rows(path: Path, read: Callable[[], Iterator[tables.NumberedRow]]) -> Iterator[Row]:
    with user_errors():
        for line, fields in read():
            yield Row(fields, path, line)
