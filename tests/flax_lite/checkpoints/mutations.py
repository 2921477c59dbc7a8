"""Seeded mutations of files, as by a failing disk, an interrupted download or a hostile author."""

import base64
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flax_lite.checkpoints.formats.tf_table import read_table
from tests.flax_lite.checkpoints.formats.tf_files import table

Random = np.random.Generator
Mutation = Callable[[Random, bytes], bytes]

_BORDERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 2**31 - 1, 2**31, 2**63, 10**30, 10**400, 0.5, -0.5, 1e300, math.nan, math.inf,
    -math.inf, "", "0", "12", "../x", "/etc/passwd", "\0", "\ud800", "é\U0001f600", "x" * 5000, [], {}, [[]], [0],
    {"a": 1},
]  # fmt: skip


def flip_bits(random: Random, data: bytes) -> bytes:
    """Flips one to eight bits."""
    changed = bytearray(data)
    for position in random.integers(0, len(data), random.integers(1, 9)):
        changed[position] ^= 1 << int(random.integers(8))
    return bytes(changed)


def set_bytes(random: Random, data: bytes) -> bytes:
    """Sets one to four bytes to random values."""
    changed = bytearray(data)
    for position in random.integers(0, len(data), random.integers(1, 5)):
        changed[position] = int(random.integers(256))
    return bytes(changed)


def truncate(random: Random, data: bytes) -> bytes:
    """Removes the end, or the beginning."""
    position = int(random.integers(len(data)))
    return data[position:] if random.integers(8) == 0 else data[:position]


def overwrite_integer(random: Random, data: bytes) -> bytes:
    """Writes a boundary value of 1 to 8 bytes in either byte order."""
    width = int(random.choice([1, 2, 4, 8]))
    value = int(_BORDERS[random.integers(len(_BORDERS))]) % 256**width
    position = int(random.integers(max(1, len(data) - width)))
    order = "little" if random.integers(2) else "big"
    return data[:position] + value.to_bytes(width, order) + data[position + width :]


def splice(random: Random, data: bytes) -> bytes:
    """Moves, repeats or removes a piece."""
    start, end, position = (
        sorted(random.integers(0, len(data), 3)) if random.integers(2) else random.integers(0, len(data), 3)
    )
    piece = data[min(start, end) : max(start, end)][:4096]
    if random.integers(3) == 0:
        return data[: min(start, end)] + data[max(start, end) :]
    return data[:position] + piece + data[position + int(random.integers(2)) * len(piece) :]


def insert_noise(random: Random, data: bytes) -> bytes:
    """Inserts random bytes."""
    position = int(random.integers(len(data) + 1))
    return data[:position] + random.bytes(int(random.integers(1, 64))) + data[position:]


BINARY: tuple[Mutation, ...] = (flip_bits, set_bytes, truncate, overwrite_integer, splice, insert_noise)


def change_json(random: Random, data: bytes) -> bytes:
    """Replaces, removes, renames, moves, nests or duplicates one to three values of a JSON file."""
    try:
        tree = json.loads(data)
    except ValueError:
        return flip_bits(random, data)
    for _ in range(random.integers(1, 4)):
        positions = list(_positions(tree))
        if not positions:
            break
        container, key = positions[random.integers(len(positions))]
        _change(random, container, key, [container[key] for container, key in positions])
    text = json.dumps(tree)
    if random.integers(10) == 0:
        # json.dumps cannot write a duplicate key, so a key is renamed to another key in the text.
        keys = [key for container, key in _positions(tree) if isinstance(key, str) and isinstance(container, dict)]
        if len(keys) > 1:
            text = text.replace(json.dumps(keys[0]), json.dumps(keys[1]), 1)
    return text.encode()


def in_header(random: Random, data: bytes) -> bytes:
    """Mutates the JSON header of a safetensors file, and corrects its length."""
    length = int.from_bytes(data[:8], "little")
    header = change_json(random, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def in_charsmap(random: Random, data: bytes) -> bytes:
    """Mutates the compiled character map in a tokenizer.json."""
    tree = json.loads(data)
    (position,) = ((container, key) for container, key in _positions(tree) if key == "precompiled_charsmap")
    charsmap = base64.b64decode(position[0][position[1]])
    position[0][position[1]] = base64.b64encode(BINARY[random.integers(len(BINARY))](random, charsmap)).decode()
    return json.dumps(tree).encode()


def in_table(random: Random, data: bytes) -> bytes:
    """Mutates a key or a value in TensorFlow's index, with valid checksums."""
    pairs = [(key, bytes(value)) for key, value in read_table(memoryview(data))]
    position = int(random.integers(len(pairs)))
    mutate = BINARY[random.integers(len(BINARY))]
    key, value = pairs[position]
    if key and random.integers(4) == 0:
        pairs[position] = (mutate(random, key), value)
    elif value:
        pairs[position] = (key, mutate(random, value))
    return table(pairs)


def _positions(tree: Any) -> list[tuple[Any, Any]]:
    """Returns every value below the root, as its container and its key."""
    positions, level = [], [tree]
    while level:
        below = []
        for container in level:
            keys = list(container) if isinstance(container, dict) else range(len(container))
            positions.extend((container, key) for key in keys)
            below.extend(container[key] for key in keys if isinstance(container[key], dict | list))
        level = below
    return positions


def _change(random: Random, container: Any, key: Any, values: list[Any]) -> None:
    kind = random.integers(10)
    if kind < 4:
        container[key] = _copy(_VALUES[random.integers(len(_VALUES))])
    elif kind == 4:
        del container[key]
    elif kind == 5:
        container[key] = _copy(values[random.integers(len(values))])
    elif kind == 6:
        container[key] = [container[key]]
    elif kind == 7:
        container[key] = str(container[key])[:100]
    elif kind == 8 and isinstance(container, dict):
        container[str(_VALUES[random.integers(18, 28)])] = container.pop(key)
    else:
        container[key] = json.loads("[" * (depth := int(random.choice([3, 70, 300]))) + "]" * depth)


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))
