"""Writes TensorFlow's tables and bundles for the tests, valid and malformed.

Checksums are valid unless a test breaks them, so that the checks after them are tested too. The format itself is tested
with google_fixture/, which TensorFlow wrote.
"""

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flax_lite.checkpoints.formats.crc32c import masked_crc32c
from tests.flax_lite.tokenization.tiny_files import bytes_field, int_field, tag, varint

Pairs = Iterable[tuple[bytes, bytes]]
MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bfloat16": 14, "float16": 19}


def entry(key: bytes, value: bytes, shared: int = 0) -> bytes:
    """Returns one pair of a block, whose key shares `shared` bytes with the previous key."""
    return varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value


def block(entries: bytes, compression: int = 0, restarts: bytes | None = None) -> bytes:
    """Returns a block with its trailer."""
    data = entries + (struct.pack("<II", 0, 1) if restarts is None else restarts) + bytes([compression])
    return data + struct.pack("<I", masked_crc32c(np.frombuffer(data, np.uint8)))


def handle(offset: int, size: int) -> bytes:
    return varint(offset) + varint(size)


def table_of(blocks: list[bytes], **index_options: Any) -> bytes:
    """Returns a table of data blocks made by `block`; the options are those of its index block."""
    data, handles = b"", b""
    for number, each in enumerate(blocks):
        handles += entry(bytes([number + 1]), handle(len(data), len(each) - 5))
        data += each
    filters, index = block(b""), block(handles, **index_options)
    handles = handle(len(data), len(filters) - 5) + handle(len(data) + len(filters), len(index) - 5)
    return data + filters + index + handles.ljust(40, b"\0") + MAGIC


def table(pairs: Pairs, compression: int = 0, pairs_in_block: int = 3) -> bytes:
    """Returns a table of pairs in the given order, with prefix-compressed keys."""
    blocks, entries, last, count = [], b"", b"", 0
    for key, value in pairs:
        shared = 0
        while count and shared < min(len(last), len(key)) and last[shared] == key[shared]:
            shared += 1
        entries, last, count = entries + entry(key, value, shared), key, count + 1
        if count == pairs_in_block:
            blocks, entries, count = [*blocks, block(entries, compression)], b"", 0
    return table_of([*blocks, block(entries, compression)] if count else blocks)


def header(num_shards: int = 1, *more: bytes) -> bytes:
    """Returns the header of a bundle; `more` are further fields."""
    return int_field(1, num_shards) + bytes_field(3, int_field(1, 1)) + b"".join(more)


def variable(
    shape: Iterable[int], offset: int, size: int, crc: int = 0, dtype: int = 1, shard: int = 0, more: bytes = b""
) -> bytes:
    """Returns the index entry of a variable."""
    axes = b"".join(bytes_field(2, int_field(1, each)) for each in shape)
    fields = int_field(1, dtype) + bytes_field(2, axes) + int_field(3, shard) + int_field(4, offset)
    return fields + int_field(5, size) + tag(6, 5) + struct.pack("<I", crc) + more


def write_index(prefix: Path, variables: Mapping[str, bytes], head: bytes | None = None) -> Path:
    pairs = [(b"", header() if head is None else head)]
    pairs += [(name.encode(), variables[name]) for name in sorted(variables, key=str.encode)]
    path = Path(f"{prefix}.index")
    path.write_bytes(table(pairs))
    return path


def write_bundle(prefix: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a checkpoint of one shard."""
    data, variables = b"", {}
    for name, array in arrays.items():
        values = np.frombuffer(array.tobytes(), np.uint8)
        code = DTYPES[array.dtype.name]
        variables[name] = variable(array.shape, len(data), len(values), masked_crc32c(values), code)
        data += values.tobytes()
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)
    write_index(prefix, variables)
