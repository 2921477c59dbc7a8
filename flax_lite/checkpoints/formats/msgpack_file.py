"""Reads and writes flax_model.msgpack, the format of `flax.serialization.to_bytes` for nested dictionaries of arrays.

Not `flax.serialization.msgpack_restore`: it takes 2.1 times the file in memory and trusts the lengths in the file. This
reader maps the file, checks every length against the size of the file, and reads values only when they are needed.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgpack
import numpy as np

from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor, Tensors
from flax_lite.files.mapping import map_file

# Flax's extension type for arrays, and the key of arrays that it splits into chunks (flax/serialization.py).
_ARRAY = 1
_CHUNKED = "__msgpack_chunked_array__"
_CHUNK_BYTES = 2**30
_MAX_DEPTH = 32
# Twice the number of parameters of the deepest encoder that a config may describe (4096 layers with 16 each,
# flax_lite/architecture/checks.py). Each value becomes a Python object, so a file of single numbers would take 30
# times its size in memory.
_MAX_VALUES = 2**17
# The longest name in Hugging Face's classes has 75 characters.
_MAX_TEXT = 1024


def read_msgpack(path: Path) -> dict[str, StoredTensor]:
    """Returns the arrays of a file, by their keys joined with dots.

    Raises:
        ValueError: if it is not a complete msgpack file of nested dictionaries of arrays.
    """
    data = map_file(path)
    if not len(data):
        raise ValueError(f"{path} is empty")
    parser = _Parser(data)
    try:
        tree = parser.value()
        if parser.position != len(parser.data):
            raise ValueError(f"{len(parser.data) - parser.position} bytes follow the end")
        if not isinstance(tree, dict):
            raise ValueError("it does not start with a dictionary")
        tensors: dict[str, StoredTensor] = {}
        for name, tensor in _flatten(tree):
            if name in tensors:  # a key may contain dots
                raise ValueError(f"{name} occurs twice")
            tensors[name] = tensor
        return tensors
    except ValueError as error:
        raise ValueError(f"{path} is not a complete msgpack file of arrays: {error}") from error


def write_msgpack(path: Path, tensors: Tensors) -> None:
    """Writes a file that `flax.serialization.msgpack_restore` reads, one tensor in memory at a time."""
    tree: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *parents, leaf = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = tensor
    with path.open("wb") as file:
        _write(file, tree)


class _Parser:
    """Parses the msgpack types that Flax writes (github.com/msgpack/msgpack/blob/master/spec.md)."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self.position = 0
        self.values_left = _MAX_VALUES

    def take(self, length: int) -> np.ndarray:
        """Returns the next bytes, as a view."""
        end = self.position + length
        if end > len(self.data):
            raise ValueError(f"{length} bytes at {self.position} reach beyond the end of the file at {len(self.data)}")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, length: int) -> int:
        """Returns the next bytes as an unsigned integer."""
        return int.from_bytes(self.take(length).tobytes(), "big")

    def value(self, depth: int = 0) -> Any:
        """Returns the next value: a dictionary, a tensor, a string, an integer or a bool."""
        if depth > _MAX_DEPTH:
            raise ValueError(f"dictionaries are nested more than {_MAX_DEPTH} deep")
        self.values_left -= 1
        if self.values_left < 0:
            raise ValueError(f"it holds more than {_MAX_VALUES} values")
        start = self.position
        code = self.number(1)
        if code <= 0x7F:
            return code
        if code <= 0x8F:
            return self._dictionary(code & 0x0F, depth)
        if 0xA0 <= code <= 0xBF:
            return self._text(code & 0x1F)
        if code in (0xC2, 0xC3):
            return code == 0xC3
        if code in (0xC7, 0xC8, 0xC9):
            return self._tensor(self.number(1 << (code - 0xC7)))
        if 0xCC <= code <= 0xCF:
            return self.number(1 << (code - 0xCC))
        if 0xD4 <= code <= 0xD8:
            return self._tensor(1 << (code - 0xD4))
        if code in (0xD9, 0xDA, 0xDB):
            return self._text(self.number(1 << (code - 0xD9)))
        if code in (0xDE, 0xDF):
            return self._dictionary(self.number(2 << (code - 0xDE)), depth)
        raise ValueError(f"byte {code:#04x} at {start} is not the start of a type that Flax writes")

    def _dictionary(self, length: int, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for _ in range(length):
            key = self.value(_MAX_DEPTH)
            if not isinstance(key, str):
                raise ValueError(f"a key is {key!r}, expected text")
            if key in items:
                raise ValueError(f"key {key!r} occurs twice")
            items[key] = self.value(depth + 1)
        return items

    def _text(self, length: int) -> str:
        if length > _MAX_TEXT:
            raise ValueError(f"a text at {self.position} has {length} bytes, expected at most {_MAX_TEXT}")
        return self.take(length).tobytes().decode("utf-8")

    def _tensor(self, length: int) -> StoredTensor:
        """Returns the tensor of an extension: a type code, then the list [shape, dtype name, bytes]."""
        if (kind := self.number(1)) != _ARRAY:
            raise ValueError(f"extension type {kind} is not an array")
        end = self.position + length
        shape, dtype = self._tensor_header()
        widths = {0xC4: 1, 0xC5: 2, 0xC6: 4}
        if (code := self.number(1)) not in widths:
            raise ValueError(f"byte {code:#04x} at the start of an array's values, expected bytes")
        values = self.take(self.number(widths[code]))
        if self.position != end:
            raise ValueError(f"an array ends at {self.position}, expected {end}")
        if dtype in FLOATS and math.prod(shape) * FLOATS[dtype].itemsize != len(values):
            raise ValueError(f"an array of shape {list(shape)} and {dtype} has {len(values)} bytes")
        return StoredTensor(shape, dtype, lambda: values.view(dtype).reshape(shape))

    def _tensor_header(self) -> tuple[tuple[int, ...], str]:
        if self.number(1) != 0x93:
            raise ValueError("an array does not consist of shape, dtype and values")
        if (rank := self.number(1)) & 0xF0 != 0x90:
            raise ValueError("an array has no shape")
        shape = tuple(self.value(_MAX_DEPTH) for _ in range(rank & 0x0F))
        dtype = self.value(_MAX_DEPTH)
        if not all(type(size) is int for size in shape) or not isinstance(dtype, str):
            raise ValueError(f"an array has shape {shape} and dtype {dtype!r}")
        return shape, dtype


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, StoredTensor]]:
    for key, value in tree.items():
        if isinstance(value, dict) and _CHUNKED in value:
            yield prefix + key, _joined(prefix + key, value)
        elif isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, StoredTensor):
            yield prefix + key, value
        else:
            raise ValueError(f"{prefix}{key} is {value!r}, expected an array")


def _joined(name: str, parts: dict[str, Any]) -> StoredTensor:
    """Returns the array of which Flax stored the chunks."""
    sizes, pieces = (_numbered(name, parts.get(part)) for part in ("shape", "chunks"))
    dtypes = {piece.dtype for piece in pieces if isinstance(piece, StoredTensor)}
    whole = all(isinstance(piece, StoredTensor) for piece in pieces)
    if not whole or len(dtypes) != 1 or not all(type(size) is int for size in sizes):
        raise ValueError(f"{name} is split into chunks that are not arrays of one dtype")
    if sum(math.prod(piece.shape) for piece in pieces) != math.prod(sizes):
        raise ValueError(f"the chunks of {name} do not add up to shape {sizes}")
    return StoredTensor(
        tuple(sizes),
        dtypes.pop(),
        lambda: np.concatenate([piece.read().reshape(-1) for piece in pieces]).reshape(sizes),
    )


def _numbered(name: str, items: Any) -> list[Any]:
    if not isinstance(items, dict) or set(items) != {str(index) for index in range(len(items))}:
        raise ValueError(f"{name} is split, but its chunks are not numbered 0, 1, ...")
    return [items[str(index)] for index in range(len(items))]


def _write(file: BinaryIO, value: Any) -> None:
    if isinstance(value, dict):
        file.write(_dictionary_header(len(value)))
        for key, item in value.items():
            file.write(_packed(key))
            _write(file, item)
    elif isinstance(value, StoredTensor):
        _write_tensor(file, value)
    else:
        file.write(_packed(value))


def _write_tensor(file: BinaryIO, tensor: StoredTensor) -> None:
    values = tensor.contiguous_bytes()
    if len(values) <= _CHUNK_BYTES:
        _write_array(file, tensor.shape, tensor.dtype, values)
        return
    itemsize = FLOATS[tensor.dtype].itemsize
    step = max(_CHUNK_BYTES // itemsize, 1) * itemsize
    pieces = [values[start : start + step] for start in range(0, len(values), step)]
    sizes = {str(axis): size for axis, size in enumerate(tensor.shape)}
    file.write(_dictionary_header(3) + _packed(_CHUNKED) + _packed(True) + _packed("shape") + _packed(sizes))
    file.write(_packed("chunks") + _dictionary_header(len(pieces)))
    for index, piece in enumerate(pieces):
        file.write(_packed(str(index)))
        _write_array(file, (len(piece) // itemsize,), tensor.dtype, piece)


def _write_array(file: BinaryIO, shape: tuple[int, ...], dtype: str, values: np.ndarray) -> None:
    # Not msgpack.packb, which would copy the values twice. 0x93: list of 3; 0xC6, 0xC9: bytes and extension with 32-bit
    # lengths.
    header = b"\x93" + _packed(shape) + _packed(dtype) + struct.pack(">BI", 0xC6, len(values))
    file.write(struct.pack(">BIB", 0xC9, len(header) + len(values), _ARRAY))
    file.write(header)
    file.write(values.data)


def _dictionary_header(length: int) -> bytes:
    return struct.pack(">BI", 0xDF, length)


def _packed(value: Any) -> bytes:
    return cast(bytes, msgpack.packb(value))
