"""Functions that the sources share: matching files by pattern, and splitting a record into paragraphs."""

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from train.errors import UserError

# wiki40b marks the structure of an article in its text (tensorflow_datasets/text/wiki40b.py).
_WIKI40B = re.compile(r"_START_(ARTICLE|SECTION|PARAGRAPH)_")


def paragraphs_of(value: Any, where: Callable[[], str]) -> Iterator[str | None]:
    """Yields the paragraphs of one document, then None.

    A text is split at line ends, or at the marks of wiki40b if it has them; then titles and headings are dropped. A
    list of texts is a document with one sentence or paragraph per entry. None is an empty document. NUL characters
    become spaces, because BERT's tokenizer drops them.

    Args:
        value: the value of the text column.
        where: returns the location of the record, for messages.

    Raises:
        UserError: if the value is neither a text nor a list of texts, or is not valid Unicode.
    """
    entries = value if isinstance(value, (list, tuple)) else [value]
    for entry in entries:
        if entry is not None:
            yield from _paragraphs(_text(entry, where))
    yield None


def check_column(column: str, columns: Sequence[str], where: str) -> None:
    """Checks that a data set has the text column.

    Raises:
        UserError: if it does not.
    """
    if column not in columns:
        raise UserError(
            f"{where} has no column {column!r} (data.text_column). It has: {', '.join(map(str, columns)) or 'none'}. "
            "Give the column that holds the text of a document: --config.data.text_column=NAME."
        )


def _paragraphs(text: str) -> Iterator[str]:
    if "_START_PARAGRAPH_" not in text:
        yield from text.splitlines()
        return
    pieces = _WIKI40B.split(text)
    for kind, body in zip(pieces[1::2], pieces[2::2], strict=True):
        if kind == "PARAGRAPH":
            yield from body.replace("_NEWLINE_", "\n").splitlines()


def _text(entry: Any, where: Callable[[], str]) -> str:
    try:
        if isinstance(entry, bytes):
            entry = entry.decode()
        elif isinstance(entry, str):
            entry.encode()  # raises for a lone surrogate, which JSON can spell
        else:
            raise UserError(
                f"{where()}: the text column holds a value of type {type(entry).__name__}, expected text or a list of "
                "texts. Give another column: --config.data.text_column=NAME."
            )
    except UnicodeError as error:
        raise UserError(f"{where()}: the text is not valid Unicode ({error}). Repair or remove this record.") from error
    return entry.replace("\0", " ")


def matching_files(scheme: str, pattern: str) -> tuple[Path, ...]:
    """Returns the files that match a pattern, sorted by name.

    Raises:
        UserError: if no file matches.
    """
    names = sorted(glob.glob(pattern, recursive=True))
    files = tuple(path for path in map(Path, names) if path.is_file())
    if not files:
        raise UserError(
            f"No file matches '{scheme}:{pattern}' (current directory: {Path.cwd()}). Give a path or a pattern such as "
            f"'{scheme}:corpus/**/*.{_ENDINGS[scheme]}', in quotes so that the shell does not expand it."
        )
    return files


_ENDINGS = {"text": "txt", "parquet": "parquet"}
