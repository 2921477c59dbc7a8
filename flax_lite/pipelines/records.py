"""Inputs of a pipeline from files, with an id for each, and their results as rows of a table.

A file named `.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.json` is a table with named columns; any other file, and standard
input, holds one input per line.
"""

import collections
import contextlib
import csv
import dataclasses
import difflib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from flax_lite.files.strict_json import parse_json
from flax_lite.files.tables import JSON_ENDINGS, read_rows
from flax_lite.pipelines.base import InputError

# Keys of an input by task; the other tasks take a single text.
_KEYS = {"text-classification": ("text", "text_pair"), "question-answering": ("question", "context")}
_NEEDS_ALL = frozenset({"question-answering"})
TABLES = (".csv", ".tsv", *JSON_ENDINGS)


def parse_line(line: str, task: str) -> Any:
    """Returns the pipeline's input from a line.

    Raises:
        ValueError: if the line has other columns or keys than the task takes.
    """
    keys = _KEYS.get(task, ("text",))
    if line.lstrip().startswith("{"):
        given = parse_json(line.encode())
        unknown = given.keys() - set(keys)
        if unknown or not all(isinstance(value, str) for value in given.values()):
            raise ValueError(f"expected JSON with strings under {' and '.join(keys)}, got keys {', '.join(given)}")
    else:
        # A tab in a single text is white space; the last of several columns may contain tabs too.
        given = dict(zip(keys, line.split("\t", len(keys) - 1), strict=False))
    missing = [name for name in keys if name not in given]
    if missing and (task in _NEEDS_ALL or missing[0] == keys[0]):
        raise ValueError(f"{task} needs {' and '.join(keys)} in each line: separated by a tab, or as JSON")
    return given if len(keys) > 1 else given[keys[0]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of tables.

    Attributes:
        text: column of the text, or of the question; None: named as the key of the task.
        text_pair: column of the second text, or of the context; None: named as the key of the task, if it is there.
        id: column of the id; None: the id is the number of the input, from 0.
        separator: separator of the fields, as in `flax_lite.files.tables.read_rows`.
    """

    text: str | None = None
    text_pair: str | None = None
    id: str | None = None
    separator: str = "auto"


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """An input with its id, its texts by key, and its location for messages."""

    id: Any
    texts: Mapping[str, str]
    location: str


class Records:
    """The inputs in files, in order; those that have been read and not answered yet are in `pending`."""

    def __init__(self, files: Sequence[str], task: str, columns: Columns) -> None:
        """Opens nothing yet.

        Args:
            files: file names, "-" for standard input; if empty, standard input.
            task: task of the pipeline.
            columns: the columns of the tables among the files.

        Raises:
            ValueError: if columns are given, but no file is a table, or a second one that the task does not take.
        """
        self._files, self._task, self._columns = files or ("-",), task, columns
        self._keys = _KEYS.get(task, ("text",))
        self.pending: collections.deque[Record] = collections.deque()
        self._count = 0
        self._bad_location = ""
        named = [name for name in (columns.text, columns.text_pair, columns.id) if name is not None]
        if named and not any(map(_is_table, self._files)):
            raise ValueError(
                f"column {named[0]!r} is given, but {', '.join(self._files)} holds lines: a file with columns ends in "
                f"{', '.join(TABLES)}"
            )
        if columns.text_pair is not None and len(self._keys) == 1:
            raise ValueError(f"{task} takes a single text, and --text_pair_column={columns.text_pair} names a second")

    def __iter__(self) -> Iterator[Any]:
        for name in self._files:
            for identifier, given, location in self._table(name) if _is_table(name) else self._lines(name):
                texts = given if isinstance(given, Mapping) else {self._keys[0]: given}
                self.pending.append(Record(identifier, texts, location))
                self._count += 1
                yield given

    def location(self, number: int) -> str:
        """Returns the file and line of an input that is not answered yet, or that could not be read."""
        first = self._count - len(self.pending)
        return self._bad_location if number == self._count else self.pending[number - first].location

    def _lines(self, name: str) -> Iterator[tuple[int, Any, str]]:
        shown = "standard input" if name == "-" else name
        with _open(name) as file:
            for line_number, line in enumerate(file, 1):
                location = f"{shown}, line {line_number}"
                try:
                    text = line.decode("utf-8") if isinstance(line, bytes) else line
                    # Removes a byte order mark, which may also be in the middle of concatenated files.
                    text = text.removesuffix("\n").removesuffix("\r").removeprefix("\ufeff")
                    given = parse_line(text, self._task)
                except ValueError as error:
                    raise self._bad(location, f"cannot be read: {error}") from None
                yield self._count, given, location

    def _table(self, name: str) -> Iterator[tuple[Any, Any, str]]:
        path = Path(os.path.expanduser(name))
        rows = read_rows(path, separator=self._columns.separator)
        while True:
            try:
                line_number, fields = next(rows)
            except StopIteration:
                return
            except ValueError as error:
                raise self._bad("", str(error)) from None
            location = f"{path}, line {line_number}"
            texts = self._texts(fields, location)
            identifier = self._count if self._columns.id is None else self._value(fields, self._columns.id, location)
            yield identifier, texts if len(self._keys) > 1 else texts[self._keys[0]], location

    def _texts(self, fields: Mapping[str, Any], location: str) -> dict[str, str]:
        texts = {}
        for number, key in enumerate(self._keys):
            given = (self._columns.text, self._columns.text_pair)[number]
            if number and given is None and key not in fields and self._task not in _NEEDS_ALL:
                continue
            value = self._value(fields, given or key, location)
            if not isinstance(value, str):
                raise self._bad(location, f"has {value!r:.100} in column {given or key!r}, expected a text")
            texts[key] = value
        return texts

    def _value(self, fields: Mapping[str, Any], column: str, location: str) -> Any:
        if column not in fields:
            near = difflib.get_close_matches(column, fields, n=1)
            problem = f"has no column {column!r}{f', nearest is {near[0]!r}' if near else ''}"
            raise self._bad(
                location,
                f"{problem}; it has {', '.join(map(repr, fields))}. Give --text_column, --text_pair_column or "
                "--id_column; to read a file as one text per line, send it to standard input",
            )
        return fields[column]

    def _bad(self, location: str, problem: str) -> InputError:
        self._bad_location = location
        return InputError(self._count, problem)


def _is_table(name: str) -> bool:
    return Path(name).suffix.lower() in TABLES


def _open(name: str) -> contextlib.AbstractContextManager[BinaryIO | TextIO]:
    """Opens a file in binary mode: it is UTF-8 in any locale, and only line feeds end a line."""
    if name == "-":
        return contextlib.nullcontext(getattr(sys.stdin, "buffer", sys.stdin))
    return open(os.path.expanduser(name), "rb")


def record_of(record: Record, result: Any, labels: Sequence[str] | None) -> dict[str, Any]:
    """Returns a row of the output: id, texts and result.

    Args:
        record: the input.
        result: its result; a dictionary has a column for each key, anything else the column "result".
        labels: the labels, if the result is a list with the score of each: the row has the best label and its score,
            and "scores" of all labels in this order.
    """
    row = {"id": record.id, **record.texts}
    if labels is not None:
        found = {each["label"]: each["score"] for each in result}
        return {**row, **result[0], "scores": {label: found[label] for label in labels}}
    return {**row, **(result if isinstance(result, dict) else {"result": result})}


def to_json(value: Any) -> str:
    """Returns a value as JSON in one line; arrays are lists."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=np.ndarray.tolist)


class RecordWriter:
    """Writes rows to a file in the format of its ending: CSV, TSV (both with a header and quotes), or JSON lines.

    In CSV and TSV the score of each label has the column score_LABEL, and lists and dictionaries are written as JSON.
    """

    def __init__(self, path: str, inputs: Sequence[str]) -> None:
        """Opens the file.

        Args:
            path: the file; one that exists is replaced.
            inputs: names of the files that are read.

        Raises:
            ValueError: if the ending is unknown, or the file is also read.
            OSError: if the file cannot be written.
        """
        target = Path(os.path.expanduser(path))
        if target.suffix.lower() not in TABLES:
            raise ValueError(f"--output {path}: expected a file with the ending {', '.join(TABLES)}")
        if target.exists() and any(name != "-" and target.samefile(os.path.expanduser(name)) for name in inputs):
            raise ValueError(f"--output {path} is also read; give another file")
        self._file = target.open("w", encoding="utf-8", newline="")
        delimiter = {".csv": ",", ".tsv": "\t"}.get(target.suffix.lower())
        self._csv = csv.writer(self._file, delimiter=delimiter, lineterminator="\n") if delimiter else None
        self._header: list[str] = []

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, *unused: object) -> None:
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes a row; in CSV and TSV, the first one has every column."""
        if self._csv is None:
            self._file.write(to_json(row) + "\n")
            return
        scores = {f"score_{label}": score for label, score in row.get("scores", {}).items()}
        flat = {**{name: value for name, value in row.items() if name != "scores"}, **scores}
        if not self._header:
            self._header = list(flat)
            self._csv.writerow(self._header)
        values = (flat.get(name, "") for name in self._header)
        self._csv.writerow([value if isinstance(value, str | int | float) else to_json(value) for value in values])
