"""Files of labelled examples as rows: lines of UTF-8, tab separated fields, CSV, a JSON object a line."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from train.errors import UserError
from train.options.schema import nearest


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row: its fields by column, and where it stands."""

    fields: dict[str, Any]
    path: Path
    line: int

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"{self.path}, line {self.line}"

    def text(self, column: str, *, may_be_empty: bool = False) -> str:
        """A text without the white space around it.

        Raises:
            UserError: if the column is not there, holds no text, or nothing but white space.
        """
        value = self.value(column)
        if not isinstance(value, str):
            raise UserError(f"{self.place}: column {column!r} holds {value!r}, expected a text.")
        text = value.strip()
        if not text and not may_be_empty:
            raise UserError(f"{self.place}: the text in column {column!r} is empty. Fill it in or remove the row.")
        return text

    def value(self, column: str) -> Any:
        """What stands in a column.

        Raises:
            UserError: if there is no such column, naming those there are.
        """
        if column not in self.fields:
            raise missing_column(column, list(self.fields), self.place)
        return self.fields[column]


def missing_column(column: str, columns: Sequence[str], where: object) -> UserError:
    """The message for a column that a file lacks."""
    return UserError(
        f"{where} has no column {column!r}{nearest(column, columns)}. "
        f"It has: {', '.join(map(repr, columns)) or 'none'}."
    )


def read_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yields the rows of a file, in the format that its name ends in.

    Args:
        path: `.tsv` or `.txt`: fields between tabs, nothing quoted; `.csv`: as RFC 4180; `.jsonl`, `.ndjson` or
            `.json`: an object a line.
        columns: names of the columns of a file without a header; the first line is the header if none are given.

    Raises:
        UserError: if the name ends otherwise, or the file cannot be read as its format.
    """
    if path.suffix not in FORMATS:
        raise UserError(f"{path}: expected a file that ends in one of {', '.join(FORMATS)}.")
    return FORMATS[path.suffix](path, columns)


def tsv_rows(
    path: Path, columns: Sequence[str] = (), *, on_bad_row: Callable[[int], None] | None = None
) -> Iterator[Row]:
    """Yields the rows of a tab separated file in which nothing is quoted, as GLUE's are.

    Args:
        path: the file.
        columns: as of `read_rows`.
        on_bad_row: called with the line number of a row with too few or too many fields, which is then left out.

    Raises:
        UserError: if there is no row, a row has too few or too many fields, or as `lines_of`.
    """
    fields = ((number, line.split("\t")) for number, line in lines_of(path) if line)
    return _table(path, fields, columns, on_bad_row)


def csv_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yields the rows of a comma separated file with quotes as in RFC 4180. Raises as `tsv_rows`."""
    return _table(path, _csv_fields(path), columns)


def json_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yields the objects of a file that holds one a line.

    Raises:
        UserError: if there is none, a line is no JSON object, `columns` are given, or as `lines_of`.
    """
    if columns:
        raise UserError(f"{path}: an object names its own columns, so none can be given for a file of JSON lines.")
    count = 0
    for number, line in lines_of(path):
        if line.strip():
            count += 1
            yield Row(_object(path, number, line), path, number)
    if not count:
        raise _empty(path)


FORMATS: dict[str, Callable[[Path, Sequence[str]], Iterator[Row]]] = {
    ".tsv": tsv_rows,
    ".txt": tsv_rows,
    ".csv": csv_rows,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".json": json_rows,
}


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yields the lines of a UTF-8 file with their numbers, from 1; only \n ends one, a \r before it is dropped.

    Raises:
        UserError: if the file cannot be read, is empty, or holds bytes that are no UTF-8 text.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, _decode(path, number, line)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    if number == 0:
        raise _empty(path)


def _decode(path: Path, number: int, line: bytes) -> str:
    try:
        if b"\0" in line:
            raise UnicodeDecodeError("utf-8", line, line.index(b"\0"), line.index(b"\0") + 1, "a NUL")
        return line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number} is not UTF-8 text ({error.reason} at byte {error.start} of the line). Convert the "
            f"file, for instance: iconv -f latin1 -t utf-8 {path}"
        ) from error


def _table(
    path: Path,
    rows: Iterable[tuple[int, list[str]]],
    columns: Sequence[str],
    on_bad_row: Callable[[int], None] | None = None,
) -> Iterator[Row]:
    names, count = list(columns), 0
    for number, fields in rows:
        if not names:
            names = _header(path, number, fields)
        elif len(fields) == len(names):
            count += 1
            yield Row(dict(zip(names, fields, strict=True)), path, number)
        elif on_bad_row is None:
            raise UserError(
                f"{path}, line {number} has {len(fields)} field(s), expected {len(names)}: {', '.join(names)}. "
                + ("Fields are separated by tabs and not quoted." if path.suffix != ".csv" else "Check its quotes.")
            )
        else:
            on_bad_row(number)
    if not count:
        raise _empty(path)


def _header(path: Path, number: int, fields: list[str]) -> list[str]:
    names = [name.strip() for name in fields]
    if len(set(names)) < len(names):
        raise UserError(f"{path}, line {number}: the header names a column twice: {', '.join(map(repr, names))}.")
    return names


def _csv_fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line + "\n" for _, line in lines_of(path)), strict=True)
    first = 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{path}, line {first} cannot be read as CSV: {error}. Check its quotes.") from error
        if fields is None:
            return
        if fields:
            yield first, fields
        first = reader.line_num + 1


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {number} is not JSON ({error}). Expected an object on each line.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}, line {number} holds a JSON {type(value).__name__}, expected an object on each line.")
    return value


def _empty(path: Path) -> UserError:
    return UserError(f"{path} holds no row: is it whole, and the right file?")
