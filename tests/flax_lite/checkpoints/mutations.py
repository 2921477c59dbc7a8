"""Seeded damage to files: what a failing disk, a cut connection or a hostile author might do to them."""

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
    """One to eight bits."""
    changed = bytearray(data)
    for place in random.integers(0, len(data), random.integers(1, 9)):
        changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def set_bytes(random: Random, data: bytes) -> bytes:
    """One to four bytes to anything."""
    changed = bytearray(data)
    for place in random.integers(0, len(data), random.integers(1, 5)):
        changed[place] = int(random.integers(256))
    return bytes(changed)


def truncate(random: Random, data: bytes) -> bytes:
    """The end is missing, or the beginning."""
    place = int(random.integers(len(data)))
    return data[place:] if random.integers(8) == 0 else data[:place]


def overwrite_integer(random: Random, data: bytes) -> bytes:
    """A number at the edge of a range, in 1 to 8 bytes of either order."""
    width = int(random.choice([1, 2, 4, 8]))
    value = int(_BORDERS[random.integers(len(_BORDERS))]) % 256**width
    place = int(random.integers(max(1, len(data) - width)))
    order = "little" if random.integers(2) else "big"
    return data[:place] + value.to_bytes(width, order) + data[place + width :]


def splice(random: Random, data: bytes) -> bytes:
    """A piece is put elsewhere, there twice, or gone."""
    start, end, place = (
        sorted(random.integers(0, len(data), 3)) if random.integers(2) else random.integers(0, len(data), 3)
    )
    piece = data[min(start, end) : max(start, end)][:4096]
    if random.integers(3) == 0:
        return data[: min(start, end)] + data[max(start, end) :]
    return data[:place] + piece + data[place + int(random.integers(2)) * len(piece) :]


def insert_noise(random: Random, data: bytes) -> bytes:
    """Random bytes where there were none."""
    place = int(random.integers(len(data) + 1))
    return data[:place] + random.bytes(int(random.integers(1, 64))) + data[place:]


BINARY: tuple[Mutation, ...] = (flip_bits, set_bytes, truncate, overwrite_integer, splice, insert_noise)


def change_json(random: Random, data: bytes) -> bytes:
    """One to three parts of a JSON file are other values, gone, renamed, moved, nested deep, or there twice."""
    try:
        tree = json.loads(data)
    except ValueError:
        return flip_bits(random, data)
    for _ in range(random.integers(1, 4)):
        places = list(_places(tree))
        if not places:
            break
        holder, key = places[random.integers(len(places))]
        _change(random, holder, key, [holder[key] for holder, key in places])
    text = json.dumps(tree)
    if random.integers(10) == 0:
        # Twice: the writer cannot say that, so a key is renamed to its neighbor's name in the text.
        keys = [key for holder, key in _places(tree) if isinstance(key, str) and isinstance(holder, dict)]
        if len(keys) > 1:
            text = text.replace(json.dumps(keys[0]), json.dumps(keys[1]), 1)
    return text.encode()


def in_header(random: Random, data: bytes) -> bytes:
    """JSON mutations of a safetensors header, with its length put right."""
    length = int.from_bytes(data[:8], "little")
    header = change_json(random, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def in_charsmap(random: Random, data: bytes) -> bytes:
    """Mutations of the compiled character map in a tokenizer.json."""
    tree = json.loads(data)
    (place,) = ((holder, key) for holder, key in _places(tree) if key == "precompiled_charsmap")
    charsmap = base64.b64decode(place[0][place[1]])
    place[0][place[1]] = base64.b64encode(BINARY[random.integers(len(BINARY))](random, charsmap)).decode()
    return json.dumps(tree).encode()


def in_table(random: Random, data: bytes) -> bytes:
    """Mutations of a key or a value in TensorFlow's index, behind checksums that are right."""
    pairs = [(key, bytes(value)) for key, value in read_table(memoryview(data))]
    place = int(random.integers(len(pairs)))
    mutate = BINARY[random.integers(len(BINARY))]
    key, value = pairs[place]
    if key and random.integers(4) == 0:
        pairs[place] = (mutate(random, key), value)
    elif value:
        pairs[place] = (key, mutate(random, value))
    return table(pairs)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every value below the top, as its holder and its key."""
    places, level = [], [tree]
    while level:
        below = []
        for holder in level:
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            places.extend((holder, key) for key in keys)
            below.extend(holder[key] for key in keys if isinstance(holder[key], dict | list))
        level = below
    return places


def _change(random: Random, holder: Any, key: Any, values: list[Any]) -> None:
    kind = random.integers(10)
    if kind < 4:
        holder[key] = _copy(_VALUES[random.integers(len(_VALUES))])
    elif kind == 4:
        del holder[key]
    elif kind == 5:
        holder[key] = _copy(values[random.integers(len(values))])
    elif kind == 6:
        holder[key] = [holder[key]]
    elif kind == 7:
        holder[key] = str(holder[key])[:100]
    elif kind == 8 and isinstance(holder, dict):
        holder[str(_VALUES[random.integers(18, 28)])] = holder.pop(key)
    else:
        holder[key] = json.loads("[" * (depth := int(random.choice([3, 70, 300]))) + "]" * depth)


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))
