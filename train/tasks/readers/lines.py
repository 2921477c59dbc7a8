"""Reads text files as lines and JSON files as objects, collects the errors of rows."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
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


def read_all(items: Iterable[ItemT], read: Callable[[ItemT], ReadT], errors: list[str] | None = None) -> list[ReadT]:
    """Calls `read` for each item, and collects its errors in one, which shows the first ten and their number.

    Args:
        items: the items.
        read: the function.
        errors: a list to which the errors are appended instead; these items have no result.

    Raises:
        UserError: if `read` raises for an item. A missing column, and an error of `items`, are raised at once.
    """
    results: list[ReadT] = []
    found: list[str] = [] if errors is None else errors
    for item in items:
        try:
            results.append(read(item))
        except MissingColumnError:
            raise
        except UserError as error:
            found.append(str(error))
    if errors is None:
        raise_errors(found)
    return results


def raise_errors(errors: Sequence[str], cure: str = "") -> None:
    """Raises a UserError with the first ten errors, their number, and `cure` as the last line, if there are any."""
    if len(errors) == 1:
        raise UserError("\n  ".join([errors[0], *filter(None, [cure])]))
    if errors:
        more = [f"and {len(errors) - _SHOWN} more"] if len(errors) > _SHOWN else []
        raise UserError("\n  ".join([f"{len(errors)} errors:", *errors[:_SHOWN], *more, *filter(None, [cure])]))


class MissingColumnError(UserError):
    """A column is missing in a table, which is one error for all rows."""
