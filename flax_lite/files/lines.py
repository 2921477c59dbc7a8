"""Reads text files line by line, in UTF-8 or the encoding of their byte order mark."""

import codecs
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# UTF-32 first: its little-endian mark starts with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MARK = "\ufeff"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yields the lines of a text file with their numbers, from 1.

    Lines end with \n or \r\n, but not at the other characters of `str.splitlines`. The file is UTF-8, or UTF-16 or
    UTF-32 if it starts with their byte order mark. A mark at the start of any line is dropped, because concatenated
    files have some inside.

    Raises:
        ValueError: if the file cannot be read, is empty, or is not such text.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in _decoded(path, file):
                yield number, line.removesuffix("\n").removesuffix("\r").removeprefix(_MARK)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    if number == 0:
        raise empty_file_error(path)


def _decoded(path: Path, file: io.BufferedReader) -> Iterator[tuple[int, str]]:
    start = file.peek(4)[:4]
    encoding = next((name for mark, name in MARKS if start.startswith(mark)), None)
    if encoding is None:
        yield from ((number, _decode(path, number, line)) for number, line in enumerate(file, 1))
        return
    number = 0
    try:
        with io.TextIOWrapper(file, encoding, newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                yield number, line
    except UnicodeError as error:
        raise ValueError(
            f"{path} starts with the byte order mark of {encoding.upper()}, but is not {encoding.upper()} after line "
            f"{number}: {error}."
        ) from error


def _decode(path: Path, number: int, line: bytes) -> str:
    if b"\0" in line:
        raise ValueError(
            f"{path}, line {number} is not UTF-8 text (a NUL at byte {line.index(0)} of the line). If it is UTF-16 "
            f"without a byte order mark, convert it, for instance: iconv -f utf-16le -t utf-8 {path}"
        )
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, line {number} is not UTF-8 text ({error.reason} at byte {error.start} of the line). Convert the "
            f"file, for instance: iconv -f latin1 -t utf-8 {path}"
        ) from error


def check_surrogates(value: Any, written: bytes | str, location: str) -> None:
    r"""Checks that the texts of a JSON value have no lone surrogate, such as `\ud83d`, which tokenizers reject.

    Args:
        value: the parsed value.
        written: the JSON from which it was parsed.
        location: the location in a file, for the message.

    Raises:
        ValueError: if a text has a lone surrogate.
    """
    # Only an escape can encode one.
    if not (b"\\u" in written if isinstance(written, bytes) else "\\u" in written):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        text = error.object[max(0, error.start - 20) : error.start]
        raise ValueError(
            f"{location} holds a lone surrogate (half a surrogate pair), {error.object[error.start]!r} after {text!r}, "
            "which is not a character. A text may have been truncated there: remove it."
        ) from None


def empty_file_error(path: Path) -> ValueError:
    """Returns the error for a file without rows."""
    return ValueError(f"{path} holds no row. Is it complete, and the right file?")
