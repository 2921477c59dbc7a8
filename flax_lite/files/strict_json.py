"""Strict JSON reader for untrusted files: refuses invalid JSON, duplicate keys, and excessive size or depth.

The module json accepts duplicate keys and has no limits; no dependency has a stricter parser.
"""

import json
from pathlib import Path
from typing import Any

from flax_lite.files.reading import decoded, read_bytes

# Room for 10^5 tensors of an index file, or labels of a config.json, at about 100 bytes each (labels occur twice).
MAX_BYTES = 16 * 2**20
# Python's json fails at a depth of about 1000, Rust's serde_json at 128; config.json needs 3.
_MAX_DEPTH = 64
# A value takes up to 100 bytes in memory and as few as 3 in the file ("[],"). A tokenizer of 250,000 pieces has 750,000
# values in 15 MB; larger files, such as questions with contexts, have longer values.
_MAX_VALUES, _BYTES_PER_VALUE = 2**22, 16


def read_json(path: Path, max_bytes: int = MAX_BYTES, *, links_out: bool = False) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Args:
        path: the file.
        max_bytes: a larger file is refused.
        links_out: as `flax_lite.files.reading.open_file`; for a file that the user names, not one of a directory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `flax_lite.files.reading.read_bytes` or `parse_json`; the message begins with the path.
    """
    data = read_bytes(path, max_bytes, links_out=links_out)
    try:
        return parse_json(data)
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def read_json_list(path: Path, max_bytes: int = MAX_BYTES) -> list[Any]:
    """Returns the JSON list in a file; raises as `read_json`."""
    data = read_bytes(path, max_bytes)
    try:
        return _parse(data, list, "a list")
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def parse_json(data: bytes) -> dict[str, Any]:
    """Parses UTF-8 text as a JSON object.

    Raises:
        ValueError: if it is not a JSON object, has a duplicate key, or is too large or too deeply nested.
    """
    return _parse(data, dict, "an object")


def _parse(data: bytes, kind: type, called: str) -> Any:
    most = max(_MAX_VALUES, len(data) // _BYTES_PER_VALUE)
    if data.count(b",") + data.count(b"[") + data.count(b"{") > most:
        raise ValueError(f"it holds more than {most} values")
    try:
        value = json.loads(decoded(data), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(f"it is nested more than {_MAX_DEPTH} deep") from None
    if not isinstance(value, kind):
        raise ValueError(f"it holds a {type(value).__name__}, expected {called}")
    _check_depth(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"key {twice[:100]!r} occurs twice")
    return values


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        containers = [item.values() if isinstance(item, dict) else item for item in level]
        level = [item for items in containers for item in items if isinstance(item, dict | list)]
        if not level:
            return
    raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
