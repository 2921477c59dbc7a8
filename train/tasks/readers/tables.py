"""Files of labeled examples as rows: tab separated fields, CSV, a JSON object a line."""

import csv
import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from train.errors import UserError
from train.options.schema import nearest
from train.tasks.readers.label_names import is_missing, label_name
from train.tasks.readers.lines import MissingColumnError, check_surrogates, empty_file_error, read_lines

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
# Lines that are looked at to find which of them it is.
_SAMPLE = 20
# The csv module's own limit is 131,072 characters, for the whole process; C's long holds no more everywhere.
_MAX_FIELD = 2**31 - 1


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
        """A text as it is written: what white space around it means is the tokenizer's to say.

        Raises:
            UserError: if the column is not there, holds no text, or nothing but white space.
        """
        value = self.value(column)
        if not isinstance(value, str):
            raise UserError(f"{self.place}: column {column!r} holds {value!r:.200}, expected a text.")
        if not value.strip() and not may_be_empty:
            raise UserError(f"{self.place}: the text in column {column!r} is empty. Fill it in or remove the row.")
        return value

    def name(self, column: str) -> str:
        """An id or a label: a number, or a text without the white space around it.

        Raises:
            UserError: if the column is not there, or holds neither.
        """
        value = self.value(column)
        if is_missing(value):
            raise UserError(f"{self.place}: column {column!r} is empty. Fill it in or remove the row.")
        if isinstance(value, (list, dict)):
            raise UserError(f"{self.place}: column {column!r} holds {value!r:.200}, expected a name or a number.")
        return label_name(value)

    def value(self, column: str) -> Any:
        """What stands in a column.

        Raises:
            MissingColumnError: if there is no such column, naming those there are.
        """
        if column not in self.fields:
            raise missing_column_error(column, list(self.fields), self.place)
        return self.fields[column]


def missing_column_error(column: str, columns: Sequence[str], where: object) -> MissingColumnError:
    """The message for a column that a file lacks."""
    return MissingColumnError(
        f"{where} has no column {column!r}{nearest(column, columns)}. "
        f"It has: {', '.join(map(repr, columns)) or 'none'}."
    )


def read_rows(
    path: Path, columns: Sequence[str] = (), *, separator: str = "auto", notes: list[str] | None = None
) -> Iterator[Row]:
    """Yields the rows of a file, in the format that its name ends in.

    Args:
        path: `.tsv` or `.txt`: fields between tabs, nothing quoted; `.csv`: as RFC 4180; `.jsonl`, `.ndjson` or
            `.json`: an object a line.
        columns: names of the columns of a file without a header; the first line is the header if none are given.
        separator: between the fields of a table, which may be quoted then: a key of `SEPARATORS`. `auto` is the tab of
            `.tsv` and `.txt`, and of `.csv` the one that its first lines are divided by.
        notes: takes a sentence about what was left out.

    Raises:
        UserError: if the name ends otherwise, or the file cannot be read as its format.
    """
    ending = path.suffix.lower()
    if ending in JSON_ENDINGS:
        return json_rows(path, columns)
    if ending not in TABLE_ENDINGS:
        raise UserError(f"{path}: expected a file that ends in one of {', '.join((*TABLE_ENDINGS, *JSON_ENDINGS))}.")
    if ending == ".csv" or separator != "auto":
        return csv_rows(path, columns, separator=separator, notes=notes)
    return tsv_rows(path, columns, notes=notes)


TABLE_ENDINGS = (".tsv", ".txt", ".csv")
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")


def tsv_rows(
    path: Path,
    columns: Sequence[str] = (),
    *,
    on_bad_row: Callable[[int], None] | None = None,
    notes: list[str] | None = None,
) -> Iterator[Row]:
    """Yields the rows of a tab separated file in which nothing is quoted, as GLUE's are.

    Args:
        path: the file.
        columns: as of `read_rows`.
        on_bad_row: called with the line number of a row with too few or too many fields, which is then left out.
        notes: as of `read_rows`.

    Raises:
        UserError: if there is no row, a row has too few or too many fields, or as `read_lines`.
    """
    fields = ((number, line.split("\t")) for number, line in read_lines(path) if line)
    hint = "Fields are separated by tabs and not quoted."
    return _table(path, fields, columns, hint=hint, on_bad_row=on_bad_row, notes=notes)


def csv_rows(
    path: Path, columns: Sequence[str] = (), *, separator: str = "auto", notes: list[str] | None = None
) -> Iterator[Row]:
    """Yields the rows of a file with quotes as in RFC 4180, whatever separates its fields.

    Raises:
        UserError: as `tsv_rows`, or if two separators would do.
    """
    lines = iter(read_lines(path))
    sample = list(itertools.islice(lines, _SAMPLE))
    if sample and (named := re.fullmatch(r"sep=(.)", sample[0][1])):  # Excel's, for Excel
        delimiter, sample = named[1], sample[1:]
    else:
        texts = [text for _, text in sample if text]
        delimiter = SEPARATORS.get(separator) or _separator(path, texts, len(columns))
    spaced = _has_spaces([text for _, text in sample], delimiter)
    reader = functools.partial(_reader, delimiter=delimiter, spaced=spaced, strict=True)
    fields = _csv_fields(path, itertools.chain(sample, lines), reader)
    return _table(path, fields, columns, hint="Check its quotes.", notes=notes)


def json_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yields the objects of a file that holds one a line.

    Raises:
        UserError: if there is none, a line is no JSON object, `columns` are given, or as `read_lines`.
    """
    if columns:
        raise UserError(f"{path}: an object names its own columns, so none can be given for a file of JSON lines.")
    count = 0
    for number, line in read_lines(path):
        if line.strip():
            count += 1
            yield Row(_object(path, number, line), path, number)
    if not count:
        raise empty_file_error(path)


def _table(
    path: Path,
    rows: Iterable[tuple[int, list[str]]],
    columns: Sequence[str],
    *,
    hint: str,
    on_bad_row: Callable[[int], None] | None = None,
    notes: list[str] | None = None,
) -> Iterator[Row]:
    names, header, named, count = list(columns), [name.lower() for name in columns], len(columns), 0
    repeated: list[int] = []
    overflowing: list[int] = []
    for number, fields in rows:
        if not names:
            names, header = _header(path, number, fields), [field.strip().lower() for field in fields]
            named = max((place for place, field in enumerate(fields, 1) if field.strip()), default=0)
            continue
        if [field.strip().lower() for field in fields] == header:
            repeated.append(number)
            continue
        if on_bad_row is None and not any(fields[len(names) :]):  # separators at the end of a line are no field
            fields = fields[: len(names)]
        if len(fields) == len(names):
            count += 1
            if any(fields[named:]):
                overflowing.append(number)
            yield Row(dict(zip(names, fields, strict=True)), path, number)
        elif on_bad_row is None:
            raise UserError(
                f"{path}, line {number} has {len(fields)} field(s), expected {len(names)}: {', '.join(names)}. {hint}"
            )
        else:
            on_bad_row(number)
    if not count:
        raise empty_file_error(path)
    if notes is not None:
        notes += _left_out(path, repeated, overflowing)


def _left_out(path: Path, repeated: Sequence[int], overflowing: Sequence[int]) -> Iterator[str]:
    if repeated:
        yield f"{path} repeats its header {len(repeated)} time(s), line {repeated[0]} first: left out."
    if overflowing:
        yield (
            f"{path} has text in columns without a name in {len(overflowing)} row(s), line {overflowing[0]} first, "
            "which is not read: are texts that hold the separator quoted?"
        )


def _header(path: Path, number: int, fields: list[str]) -> list[str]:
    """The names of the columns; one without a name has that which pandas gives it."""
    names = [field.strip() or f"Unnamed: {place}" for place, field in enumerate(fields)]
    if len(set(names)) < len(names):
        raise UserError(f"{path}, line {number}: the header names a column twice: {', '.join(map(repr, names))}.")
    return names


def _separator(path: Path, lines: Sequence[str], num_columns: int) -> str:
    """What divides a header most, or lines without one into as many fields as there are columns."""
    counts = {name: _counts(lines, delimiter) for name, delimiter in SEPARATORS.items()}
    fits = {
        name: sum(count == num_columns for count in found) if num_columns else next(iter(found), 1)
        for name, found in counts.items()
    }
    best = max(fits.values())
    likely = [name for name, fit in fits.items() if fit == best]
    if len(likely) > 1 and best > 1 and num_columns != 1:
        raise UserError(
            f"{path}: its fields may be divided by {' or '.join(likely)}, and which is not clear: give "
            f"--config.data.separator={likely[0]}, or another."
        )
    return SEPARATORS[likely[0]]


def _counts(lines: Iterable[str], delimiter: str) -> list[int]:
    """Fields of each record; none where it is no CSV, which is said when it is read."""
    return [len(fields) for fields in _records(lines, delimiter)]


def _has_spaces(lines: Sequence[str], delimiter: str) -> bool:
    """Whether quotes stand behind a space, where they would be taken for text, in a file that is regular without it."""
    if not any(re.match(r' +"', field) for fields in _records(lines, delimiter) for field in fields):
        return False
    return len(set(map(len, filter(None, _records(lines, delimiter, spaced=True))))) == 1


def _records(lines: Iterable[str], delimiter: str, *, spaced: bool = False) -> list[list[str]]:
    try:
        return list(_reader((f"{line}\n" for line in lines), delimiter=delimiter, spaced=spaced, strict=spaced))
    except csv.Error:
        return []


def _reader(lines: Iterable[str], *, delimiter: str, spaced: bool, strict: bool) -> Any:
    if csv.field_size_limit() < _MAX_FIELD:
        csv.field_size_limit(_MAX_FIELD)
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced, strict=strict)


def _csv_fields(
    path: Path, lines: Iterable[tuple[int, str]], read: Callable[..., Any]
) -> Iterator[tuple[int, list[str]]]:
    first, last = 0, 0

    def texts() -> Iterator[str]:
        nonlocal first, last
        for last, line in lines:
            first = first or last
            yield line + "\n"

    reader = read(texts())
    while True:
        first = 0
        try:
            fields = next(reader, None)
        except csv.Error as error:
            cure = "Check its quotes." if "new-line" not in str(error) else r"Convert its line ends: tr '\r' '\n'."
            raise UserError(f"{path}, line {first} cannot be read as CSV: {error}. {cure}") from error
        if fields is None:
            return
        if fields:
            yield first, fields


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {number} is not JSON ({error}). Expected an object on each line.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}, line {number} holds a JSON {type(value).__name__}, expected an object on each line.")
    check_surrogates(value, line, f"{path}, line {number}")
    return value
