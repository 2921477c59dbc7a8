"""The files that a pattern names, and the paragraphs of a document in a JSON line, a Parquet row or a tfds example."""

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from train.errors import UserError

# wiki40b keeps an article's structure in its text (tensorflow_datasets/text/wiki40b.py).
_WIKI40B = re.compile(r"_START_(ARTICLE|SECTION|PARAGRAPH)_")


def paragraphs_of(value: Any, where: Callable[[], str]) -> Iterator[str | None]:
    """Yields the paragraphs of one document, then None.

    A text is cut at its line ends, or at wiki40b's marks where it has them: then titles and headings are left out. A
    list of texts is a document with a sentence or a paragraph an entry; nothing is a document without text. The
    character NUL becomes a space, as BERT's tokenizer leaves it out.

    Args:
        value: what stands in the text column.
        where: says for a message which record this is.

    Raises:
        UserError: if it is neither a text nor a list of texts, or not valid Unicode.
    """
    entries = value if isinstance(value, (list, tuple)) else [value]
    for entry in entries:
        if entry is not None:
            yield from _paragraphs(_text(entry, where))
    yield None


def check_column(column: str, columns: Sequence[str], where: str) -> None:
    """Refuses a data set that lacks the text column.

    Raises:
        UserError: naming the columns that there are.
    """
    if column not in columns:
        raise UserError(
            f"{where} has no column {column!r} (data.text_column). It has: {', '.join(map(str, columns)) or 'none'}. "
            "Name the one that holds the text of a document, with --config.data.text_column=NAME."
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
            entry.encode()  # half a surrogate pair, as JSON can spell it, is no character
        else:
            raise UserError(
                f"{where()}: the text column holds a value of type {type(entry).__name__}, expected text or a list of "
                "texts. Name another column, with --config.data.text_column=NAME."
            )
    except UnicodeError as error:
        raise UserError(f"{where()}: the text is not valid Unicode ({error}). Repair or remove this record.") from error
    return entry.replace("\0", " ")


def matching_files(scheme: str, pattern: str) -> tuple[Path, ...]:
    """Returns the files that match, sorted by name.

    Raises:
        UserError: if there is none.
    """
    names = sorted(glob.glob(pattern, recursive=True))
    files = tuple(path for path in map(Path, names) if path.is_file())
    if not files:
        raise UserError(
            f"No file matches '{scheme}:{pattern}' (looked from {Path.cwd()}). Give a path or a pattern such as "
            f"'{scheme}:corpus/**/*.{_ENDINGS[scheme]}', in quotes so that the shell leaves it alone."
        )
    return files


_ENDINGS = {"text": "txt", "parquet": "parquet"}
