"""Reads text files as lines and JSON files as objects, in UTF-8 or the encoding of their byte order mark."""

import codecs
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flax_lite.files.reading import read_bytes
from flax_lite.files.strict_json import parse_json
from train.errors import UserError

# UTF-32 first: its little-endian mark starts with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MARK = "\ufeff"
# Number of errors in a message.
_SHOWN = 10

ItemT = TypeVar("ItemT")
ReadT = TypeVar("ReadT")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yields the lines of a text file with their numbers, from 1.

    Lines end with \n or \r\n, but not at the other characters of `str.splitlines`. The file is UTF-8, or UTF-16 or
    UTF-32 if it starts with their byte order mark. A mark at the start of any line is dropped, because concatenated
    files have some inside.

    Raises:
        UserError: if the file cannot be read, is empty, or is not such text.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in _decoded(path, file):
                yield number, line.removesuffix("\n").removesuffix("\r").removeprefix(_MARK)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    if number == 0:
        raise empty_file_error(path)


def _decoded(path: Path, file: io.BufferedReader) -> Iterator[tuple[int, str]]:
    start = file.peek(4)[:4]
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if encoding is None:
        yield from ((number, _decode(path, number, line)) for number, line in enumerate(file, 1))
        return
    number = 0
    try:
        with io.TextIOWrapper(file, encoding, newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                yield number, line
    except UnicodeError as error:
        raise UserError(
            f"{path} starts with the byte order mark of {encoding.upper()}, but is not {encoding.upper()} after line "
            f"{number}: {error}."
        ) from error


def _decode(path: Path, number: int, line: bytes) -> str:
    if b"\0" in line:
        raise UserError(
            f"{path}, line {number} is not UTF-8 text (a NUL at byte {line.index(0)} of the line). If it is UTF-16 "
            f"without a byte order mark, convert it, for instance: iconv -f utf-16le -t utf-8 {path}"
        )
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number} is not UTF-8 text ({error.reason} at byte {error.start} of the line). Convert the "
            f"file, for instance: iconv -f latin1 -t utf-8 {path}"
        ) from error


def read_object(path: Path, max_bytes: int) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
        UserError: if the file has more than `max_bytes`, cannot be read, is not a JSON object, or holds a lone
            surrogate.
    """
    try:
        data = read_bytes(path, max_bytes, links_out=True)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(str(error)) from error
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        data = data.decode(encoding).encode()
        value = parse_json(data)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    check_surrogates(value, data, str(path))
    return value


def check_surrogates(value: Any, written: bytes | str, location: str) -> None:
    r"""Checks that the texts of a JSON value have no lone surrogate, such as `\ud83d`, which tokenizers reject.

    Args:
        value: the parsed value.
        written: the JSON from which it was parsed.
        location: the location in a file, for the message.

    Raises:
        UserError: if a text has a lone surrogate.
    """
    # Only an escape can encode one.
    if not (b"\\u" in written if isinstance(written, bytes) else "\\u" in written):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        text = error.object[max(0, error.start - 20) : error.start]
        raise UserError(
            f"{location} holds a lone surrogate (half a surrogate pair), {error.object[error.start]!r} after {text!r}, "
            "which is not a character. A text may have been truncated there: remove it."
        ) from None


def read_all(items: Iterable[ItemT], read: Callable[[ItemT], ReadT]) -> list[ReadT]:
    """Calls `read` for each item, and collects its errors in one, which shows the first ten and their number.

    Raises:
        UserError: if `read` raises for an item. A missing column, and an error of `items`, are raised at once.
    """
    results: list[ReadT] = []
    errors: list[str] = []
    count = 0
    for item in items:
        try:
            results.append(read(item))
        except MissingColumnError:
            raise
        except UserError as error:
            count += 1
            if count <= _SHOWN:
                errors.append(str(error))
    if count == 1:
        raise UserError(errors[0])
    if errors:
        more = [f"and {count - len(errors)} more"] if count > len(errors) else []
        raise UserError("\n  ".join([f"{count} errors:", *errors, *more]))
    return results


class MissingColumnError(UserError):
    """A column is missing in a table, which is one error for all rows."""


def empty_file_error(path: Path) -> UserError:
    """Returns the error for a file without rows."""
    return UserError(f"{path} holds no row. Is it complete, and the right file?")
