"""Parses CSV files to fields, and detects their separator.

Parsing is by the csv module. Its `Sniffer` does not detect the separator, because it guesses from character counts and
raises for a file with a single column.
"""

import csv
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flax_lite.files.lines import read_lines

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
# Number of lines from which the separator is detected.
_SAMPLE = 20
# The default limit of the csv module is 131,072 characters; this is the largest value of a C long on all platforms.
_MAX_FIELD = 2**31 - 1

# The number of the first line of a record, and its fields.
Record = tuple[int, list[str]]


def csv_fields(path: Path, separator: str, num_columns: int) -> Iterator[Record]:
    """Returns an iterator over the records of a file with quotes as in RFC 4180.

    Args:
        path: the file.
        separator: a key of `SEPARATORS`, or "auto" to detect it from the first lines.
        num_columns: the number of columns if it is known, else 0.

    Raises:
        ValueError: if the separator is ambiguous or the file is not CSV, or as `read_lines`.
    """
    lines = iter(read_lines(path))
    sample = list(itertools.islice(lines, _SAMPLE))
    if sample and (declared := re.fullmatch(r"sep=(.)", sample[0][1])):  # written by Excel
        delimiter, sample = declared[1], sample[1:]
    else:
        texts = [text for _, text in sample if text]
        delimiter = SEPARATORS.get(separator) or _detect_separator(path, texts, num_columns)
    spaced = _has_spaces([text for _, text in sample], delimiter)
    reader = functools.partial(_reader, delimiter=delimiter, spaced=spaced, strict=True)
    return _numbered(path, itertools.chain(sample, lines), reader)


def _detect_separator(path: Path, lines: Sequence[str], num_columns: int) -> str:
    """Returns the separator that splits the header into the most fields, or most lines into `num_columns` fields."""
    counts = {name: _counts(lines, delimiter) for name, delimiter in SEPARATORS.items()}
    fits = {
        name: sum(count == num_columns for count in found) if num_columns else next(iter(found), 1)
        for name, found in counts.items()
    }
    best = max(fits.values())
    likely = [name for name, fit in fits.items() if fit == best]
    if len(likely) > 1 and best > 1 and num_columns != 1:
        first = likely[0]
        raise ValueError(
            f"{path}: the separator may be {' or '.join(likely)}. Give --config.data.separator={first}, or another (of "
            f"flax_lite.predict: --separator {first})."
        )
    return SEPARATORS[likely[0]]


def _counts(lines: Iterable[str], delimiter: str) -> list[int]:
    """Returns the number of fields of each record; empty if the lines are not CSV, which is reported when reading."""
    return [len(fields) for fields in _records(lines, delimiter)]


def _has_spaces(lines: Sequence[str], delimiter: str) -> bool:
    """Returns whether quotes follow a space, which csv would read as text, in a file that is regular without it."""
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


def _numbered(path: Path, lines: Iterable[tuple[int, str]], read: Callable[..., Any]) -> Iterator[Record]:
    """Yields records with the number of their first line; a record may have several lines."""
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
            raise ValueError(f"{path}, line {first} cannot be read as CSV: {error}. {cure}") from error
        if fields is None:
            return
        if fields:
            yield first, fields
