"""Reads text files as lines and JSON files as objects, collects the errors of rows."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flax_lite.files import lines
from flax_lite.files.lines import MARKS
from flax_lite.files.reading import read_bytes
from flax_lite.files.strict_json import parse_json
from train.errors import UserError

# Number of errors in a message.
_SHOWN = 10

ItemT = TypeVar("ItemT")
ReadT = TypeVar("ReadT")


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Raises a ValueError of the library's readers as a UserError with its message."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines of a text file as `flax_lite.files.lines.read_lines`; its errors are UserErrors."""
    with user_errors():
        yield from lines.read_lines(path)


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
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        data = data.decode(encoding).encode()
        value = parse_json(data)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    check_surrogates(value, data, str(path))
    return value


def check_surrogates(value: Any, written: bytes | str, location: str) -> None:
    """Checks a JSON value as `flax_lite.files.lines.check_surrogates`; its errors are UserErrors."""
    with user_errors():
        lines.check_surrogates(value, written, location)


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
