"""Rows of text files and of tfds sets, with the place of each for messages."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from train.errors import UserError
from train.schema import nearest


class Record(NamedTuple):
    """A row by its columns, and where it stands."""

    where: str
    values: Mapping[str, Any]

    def get(self, column: str) -> Any:
        """The value of a column.

        Raises:
            UserError: if there is no such column; the message names those there are.
        """
        if column not in self.values:
            names = [name for name in self.values if name]
            raise UserError(
                f"{self.where} has no column {column!r}{nearest(column, names)}; it has {', '.join(names) or 'none'}"
            )
        return self.values[column]

    def text(self, column: str) -> str:
        """The text of a column.

        Raises:
            UserError: if it is no text, or has nothing but white space.
        """
        value = self.get(column)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{self.where}: column {column!r} holds {value!r}, expected a text")
        return value


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file without their ends, with their numbers from 1.

    Raises:
        UserError: if it cannot be read, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise UserError(f"{path}, line {number} is not UTF-8 ({error.reason})") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def read_tsv(path: Path, columns: tuple[str, ...] | None = None) -> Iterator[Record]:
    """Rows of a tab-separated file without quoting, as GLUE's are.

    Args:
        path: the file.
        columns: names of its columns where it has no header.

    Raises:
        UserError: if a line has another number of fields than the header.
    """
    names = columns
    for number, line in read_lines(path):
        fields = line.split("\t")
        if names is None:
            names = tuple(fields)
            continue
        if not line:
            continue
        if len(fields) != len(names):
            raise UserError(
                f"{path}, line {number} has {len(fields)} fields, expected {len(names)}: {', '.join(names)}"
            )
        yield Record(f"{path}, line {number}", dict(zip(names, fields, strict=True)))


def read_table(path: Path) -> Iterator[Record]:
    """Rows of a user's file: .tsv (no quoting), .csv (quoted as spreadsheets do) or .jsonl.

    Raises:
        UserError: for another ending, or a line that cannot be read as such.
    """
    readers = {".tsv": read_tsv, ".csv": _read_csv, ".jsonl": _read_jsonl, ".json": _read_jsonl}
    if path.suffix not in readers:
        raise UserError(f"{path} ends in {path.suffix or 'nothing'}, expected one of {', '.join(readers)}")
    return readers[path.suffix](path)


def _read_csv(path: Path) -> Iterator[Record]:
    reader = csv.reader((f"{line}\n" for _, line in read_lines(path)), strict=True)
    names: list[str] | None = None
    try:
        for fields in reader:
            where = f"{path}, line {reader.line_num}"
            if names is None:
                names = fields
            elif fields:
                if len(fields) != len(names):
                    raise UserError(f"{where} has {len(fields)} fields, expected {len(names)}: {', '.join(names)}")
                yield Record(where, dict(zip(names, fields, strict=True)))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from error


def _read_jsonl(path: Path) -> Iterator[Record]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(values, dict):
            raise UserError(f"{path}, line {number} is a JSON {type(values).__name__}, expected an object")
        yield Record(f"{path}, line {number}", values)


def read_tfds(argument: str, split: str, data_dir: str | None) -> Iterator[Record]:
    """Examples of a split of a prepared tfds set.

    Raises:
        UserError: as `train.data.sources.tfds.open_tfds`.
    """
    from train.data.sources.tfds import examples_of

    for number, example in enumerate(examples_of(f"{argument}:{split}", data_dir)):
        yield Record(f"tfds:{argument}:{split}, example {number}", example)


def first_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of some files that a directory has, if it has one."""
    return next((folder / name for name in names if (folder / name).is_file()), None)
