"""Reads tables as rows by column: tab separated values, CSV, or JSON lines.

A row is the number of its first line, and its fields by column.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flax_lite.files.csv_fields import csv_fields
from flax_lite.files.lines import check_surrogates, empty_file_error, read_lines

NumberedRow = tuple[int, dict[str, Any]]

TABLE_ENDINGS = (".tsv", ".txt", ".csv")
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")


def read_rows(
    path: Path,
    columns: Sequence[str] = (),
    *,
    separator: str = "auto",
    notes: list[str] | None = None,
    errors: list[str] | None = None,
) -> Iterator[NumberedRow]:
    """Yields the rows of a file in the format of its ending.

    Args:
        path: `.tsv` or `.txt`: tab separated values without quotes; `.csv`: as RFC 4180; `.jsonl`, `.ndjson` or
            `.json`: one object per line.
        columns: names of the columns of a file without a header; if empty, the first line is the header.
        separator: the separator of a table with quotes, a key of `csv_fields.SEPARATORS`. `auto` reads `.tsv` and
            `.txt` as tab separated values, and detects the separator of `.csv`.
        notes: a list to which a sentence about skipped rows or fields is appended.
        errors: a list to which the errors of rows with a wrong number of fields, or that are not JSON, are appended
            instead of being raised.

    Raises:
        ValueError: if the ending is unknown, or the file does not have its format.
    """
    ending = path.suffix.lower()
    if ending in JSON_ENDINGS:
        return json_rows(path, columns, errors=errors)
    if ending not in TABLE_ENDINGS:
        raise ValueError(f"{path}: expected a file with the ending {', '.join((*TABLE_ENDINGS, *JSON_ENDINGS))}.")
    if ending == ".csv" or separator != "auto":
        return csv_rows(path, columns, separator=separator, notes=notes, errors=errors)
    return tsv_rows(path, columns, notes=notes, errors=errors)


def tsv_rows(
    path: Path,
    columns: Sequence[str] = (),
    *,
    on_bad_row: Callable[[int], None] | None = None,
    notes: list[str] | None = None,
    errors: list[str] | None = None,
) -> Iterator[NumberedRow]:
    """Yields the rows of a file of tab separated values without quotes, as those of GLUE.

    Args:
        path: the file.
        columns: as in `read_rows`.
        on_bad_row: called with the line number of each row with a wrong number of fields, which is then skipped.
        notes: as in `read_rows`.
        errors: as in `read_rows`.

    Raises:
        ValueError: if there is no row, a row has a wrong number of fields, or as `read_lines`.
    """
    fields = ((number, line.split("\t")) for number, line in read_lines(path) if line)
    hint = "Fields are separated by tabs and not quoted."
    return _table(path, fields, columns, hint=hint, on_bad_row=on_bad_row, notes=notes, errors=errors)


def csv_rows(
    path: Path,
    columns: Sequence[str] = (),
    *,
    separator: str = "auto",
    notes: list[str] | None = None,
    errors: list[str] | None = None,
) -> Iterator[NumberedRow]:
    """Yields the rows of a file with quotes as in RFC 4180.

    Args:
        path: the file.
        columns: as in `read_rows`.
        separator: as in `read_rows`.
        notes: as in `read_rows`.
        errors: as in `read_rows`.

    Raises:
        ValueError: as `tsv_rows`, or if the separator is ambiguous.
    """
    fields = csv_fields(path, separator, len(columns))
    return _table(path, fields, columns, hint="Check its quotes.", notes=notes, errors=errors)


def json_rows(path: Path, columns: Sequence[str] = (), *, errors: list[str] | None = None) -> Iterator[NumberedRow]:
    """Yields the objects of a file with one JSON object per line; `errors` as in `read_rows`.

    Raises:
        ValueError: if there is none, a line is not a JSON object, `columns` are given, or as `read_lines`.
    """
    if columns:
        raise ValueError(
            f"{path}: JSON objects name their columns, but the columns {', '.join(columns)} are given for the file."
        )
    count = 0
    for number, line in read_lines(path):
        if line.strip():
            count += 1
            try:
                fields = _object(path, number, line)
            except ValueError as error:
                if errors is None:
                    raise
                errors.append(str(error))
                continue
            yield number, fields
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
    errors: list[str] | None = None,
) -> Iterator[NumberedRow]:
    names, header, named, count = list(columns), [name.lower() for name in columns], len(columns), 0
    repeated: list[int] = []
    overflowing: list[int] = []
    for number, fields in rows:
        if not names:
            names, header = _header(path, number, fields), [field.strip().lower() for field in fields]
            named = max((number for number, field in enumerate(fields, 1) if field.strip()), default=0)
            continue
        if [field.strip().lower() for field in fields] == header:
            repeated.append(number)
            continue
        if on_bad_row is None and not any(fields[len(names) :]):  # ignore separators at the end of a line
            fields = fields[: len(names)]
        if len(fields) == len(names):
            count += 1
            if any(fields[named:]):
                overflowing.append(number)
            yield number, dict(zip(names, fields, strict=True))
        elif on_bad_row is None:
            expected = f"expected {len(names)}: {', '.join(names)}. {hint}"
            wrong = f"{path}, line {number} has {len(fields)} field(s), {expected}"
            if errors is None:
                raise ValueError(wrong)
            errors.append(wrong)
        else:
            on_bad_row(number)
    if not (count or errors):
        raise empty_file_error(path)
    if notes is not None:
        notes += _skipped(path, repeated, overflowing)


def _skipped(path: Path, repeated: Sequence[int], overflowing: Sequence[int]) -> Iterator[str]:
    if repeated:
        yield f"{path} repeats its header {len(repeated)} time(s), line {repeated[0]} first: skipped."
    if overflowing:
        yield (
            f"{path} has text in columns without a name in {len(overflowing)} row(s), line {overflowing[0]} first: "
            "skipped. Texts that contain the separator have to be quoted."
        )


def _header(path: Path, number: int, fields: list[str]) -> list[str]:
    """Returns the names of the columns; a column without a name is named as by pandas."""
    names = [field.strip() or f"Unnamed: {index}" for index, field in enumerate(fields)]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}, line {number}: the header has a column twice: {', '.join(map(repr, names))}.")
    return names


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}, line {number} is not JSON ({error}). Expected one object per line.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}, line {number} holds a JSON {type(value).__name__}, expected one object per line.")
    check_surrogates(value, line, f"{path}, line {number}")
    return value
