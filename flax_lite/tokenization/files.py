"""Reads the small files of a tokenizer; sizes are checked before reading, and every failure is a ValueError."""

from pathlib import Path
from typing import Any

from flax_lite.files import reading
from flax_lite.files.names import MAX_TOKENIZER_BYTES
from flax_lite.files.strict_json import parse_json


def read_bytes(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
        ValueError: if the file is larger than `MAX_TOKENIZER_BYTES`.
    """
    return reading.read_bytes(path, MAX_TOKENIZER_BYTES)


def read_text(path: Path) -> str:
    """Returns the content of a UTF-8 file.

    Raises:
        ValueError: if the file is larger than `MAX_TOKENIZER_BYTES`, or is not UTF-8.
    """
    return reading.read_text(path, MAX_TOKENIZER_BYTES)


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
        ValueError: if the file is larger than `MAX_TOKENIZER_BYTES`, or for the reasons listed at
            `flax_lite.files.strict_json.parse_json`.
    """
    data = read_bytes(path)
    try:
        return parse_json(data)
    except ValueError as error:
        raise ValueError(f"invalid JSON: {error}") from error


def read_json_beside(directory: Path, name: str) -> dict[str, Any]:
    """Returns the object in the JSON file `directory / name`, or an empty one if there is no such file.

    Raises:
        ValueError: as `read_json`, with the path of the file.
    """
    path = directory / name
    if not reading.is_there(path):
        return {}
    try:
        return read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
