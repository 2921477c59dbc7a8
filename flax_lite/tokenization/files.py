"""Reads the small files of a tokenizer: sizes checked first, and every failure one ValueError."""

from pathlib import Path
from typing import Any

from flax_lite.files import reading
from flax_lite.files.names import MAX_TOKENIZER_BYTES
from flax_lite.files.strict_json import parse_json


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        ValueError: far too large.
    """
    return reading.read_bytes(path, MAX_TOKENIZER_BYTES)


def read_text(path: Path) -> str:
    """A file's content as UTF-8.

    Raises:
        ValueError: far too large, or not UTF-8.
    """
    return reading.read_text(path, MAX_TOKENIZER_BYTES)


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        ValueError: far too large, or as `flax_lite.files.strict_json.parse_json`.
    """
    data = read_bytes(path)
    try:
        return parse_json(data)
    except ValueError as error:
        raise ValueError(f"invalid JSON: {error}") from error


def read_json_beside(directory: Path, name: str) -> dict[str, Any]:
    """As `read_json`, but an absent file is an empty object, and an error names the file.

    Raises:
        ValueError: as `read_json`.
    """
    path = directory / name
    if not reading.is_there(path):
        return {}
    try:
        return read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
