"""Text files as lines, whatever byte order mark they begin with, and JSON objects in them."""

import codecs
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flax_lite.files.reading import read_bytes
from flax_lite.files.strict_json import parse_json
from train.errors import UserError

# UTF-32's marks before UTF-16's, one of which they begin with.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MARK = "\ufeff"
# As many as fit a screen.
_SHOWN = 10

ItemT = TypeVar("ItemT")
ReadT = TypeVar("ReadT")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yields the lines of a text file with their numbers, from 1; only \n ends one, a \r before it is dropped.

    The file is UTF-8, or UTF-16 or UTF-32 where it begins with their byte order mark. A mark at the beginning of any
    line is dropped: files that were joined have some inside.

    Raises:
        UserError: if the file cannot be read, is empty, or holds bytes that are no such text.
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
        raise UserError(f"{path} begins as {encoding.upper()} and is not, after line {number}: {error}.") from error


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
    """The JSON object that a file holds.

    Raises:
        UserError: if it is larger, cannot be read, is no object, or holds half a surrogate pair.
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


def check_surrogates(value: Any, written: bytes | str, place: str) -> None:
    r"""Sees to it that texts of JSON hold whole characters: `\ud83d` alone is half of one, which no tokenizer takes.

    Args:
        value: as it was read.
        written: what it was read from.
        place: for the message.

    Raises:
        UserError: if one holds half a surrogate pair.
    """
    # Nothing but an escape can write one.
    if not (b"\\u" in written if isinstance(written, bytes) else "\\u" in written):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        text = error.object[max(0, error.start - 20) : error.start]
        raise UserError(
            f"{place} holds half a surrogate pair, {error.object[error.start]!r} behind {text!r}, which is no "
            "character: was a text cut there? Remove it."
        ) from None


def read_all(items: Iterable[ItemT], read: Callable[[ItemT], ReadT]) -> list[ReadT]:
    """What `read` makes of each item; all that it refuses are one error, which shows the first ten and counts them.

    Raises:
        UserError: as `read`; what `items` raises, and a column that is not there, at once.
    """
    results: list[ReadT] = []
    faults: list[str] = []
    count = 0
    for item in items:
        try:
            results.append(read(item))
        except MissingColumnError:
            raise
        except UserError as error:
            count += 1
            if count <= _SHOWN:
                faults.append(str(error))
    if count == 1:
        raise UserError(faults[0])
    if faults:
        more = [f"and {count - len(faults)} more"] if count > len(faults) else []
        raise UserError("\n  ".join([f"{count} mistakes:", *faults, *more]))
    return results


class MissingColumnError(UserError):
    """A column that a table lacks: one mistake, however many rows there are."""


def empty_file_error(path: Path) -> UserError:
    """The message for a file that holds nothing."""
    return UserError(f"{path} holds no row: is it whole, and the right file?")
