"""Reads TensorFlow's tables: sorted pairs of keys and values in blocks with checksums, as in LevelDB.

LevelDB's Python packages open databases, not single tables, and TensorFlow is no dependency.

Source: tensorflow/core/lib/io (format.cc, block.cc, table_builder.cc); github.com/google/leveldb, doc/table_format.md.
"""

from collections.abc import Iterator

import numpy as np

from flax_lite.checkpoints.formats.crc32c import masked_crc32c
from flax_lite.files.protobuf import varint

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
# After every block: one byte for the compression, four for the checksum of block and compression byte.
_TRAILER_BYTES = 5
_COMPRESSIONS = {0: "none", 1: "Snappy"}
# A key shares a prefix with the previous one at no cost in bytes, so a small file could claim terabytes of keys.
# BERT-large with its optimizer state has 1200 keys of at most 90 bytes.
_MAX_KEY_BYTES = 1024
_MAX_KEYS = 2**16


def read_table(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yields the keys of a table in order, each with its value.

    Every length is checked against the size of the data, and every block against its checksum.

    Args:
        data: the content of the file.

    Raises:
        ValueError: if the table is malformed, damaged or compressed; the caller adds the name of the file.
    """
    if len(data) < _FOOTER_BYTES:
        raise ValueError(
            f"it has {len(data)} bytes, expected {_FOOTER_BYTES} or more: truncated, or another kind of file"
        )
    blocks, footer = data[:-_FOOTER_BYTES], data[-_FOOTER_BYTES:]
    if int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError("it does not end like a table: truncated, or another kind of file")
    _, position = _handle(footer, 0)  # handle of the filter block, which bundles do not use
    index, _ = _handle(footer, position)
    last, count = None, 0
    for _, value in _entries(_block(blocks, *index)):
        handle, _ = _handle(value, 0)
        for key, entry in _entries(_block(blocks, *handle)):
            count += 1
            if last is not None and key <= last:
                raise ValueError(f"key {key[:100]!r} follows {last[:100]!r}: keys are not in order")
            if count > _MAX_KEYS:
                raise ValueError(f"it has more than {_MAX_KEYS} keys")
            last = key
            yield key, entry


def _handle(data: memoryview, position: int) -> tuple[tuple[int, int], int]:
    """Returns offset and size of a block, and the position after them."""
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return (offset, size), position


def _block(blocks: memoryview, offset: int, size: int) -> memoryview:
    end = offset + size
    if end + _TRAILER_BYTES > len(blocks):
        raise ValueError(f"a block of {size} bytes at {offset} reaches beyond the end of the blocks at {len(blocks)}")
    stored = int.from_bytes(blocks[end + 1 : end + _TRAILER_BYTES], "little")
    if masked_crc32c(np.frombuffer(blocks[offset : end + 1], np.uint8)) != stored:
        raise ValueError(f"the block at {offset} does not match its checksum: damaged")
    if compression := blocks[end]:
        name = _COMPRESSIONS.get(compression, f"method {compression}")
        raise ValueError(f"its blocks are compressed ({name}), and TensorFlow's checkpoints never are")
    return blocks[offset:end]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yields the pairs of a block; the restart positions at its end serve a binary search, which is not needed here."""
    num_restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (num_restarts + 1)
    if len(block) < 4 or end < 0:
        raise ValueError(f"a block of {len(block)} bytes claims {num_restarts} restart positions")
    key, position, block = b"", 0, block[:end]
    while position < end:
        shared, position = varint(block, position)
        added, position = varint(block, position)
        size, position = varint(block, position)
        if shared > len(key) or added + size > end - position:
            raise ValueError(
                f"an entry with a key of {shared} + {added} and a value of {size} bytes does not fit at {position}"
            )
        if shared + added > _MAX_KEY_BYTES:
            raise ValueError(f"a key has {shared + added} bytes, expected at most {_MAX_KEY_BYTES}")
        key = key[:shared] + bytes(block[position : position + added])
        position += added + size
        yield key, block[position - size : position]
