"""Tests of the reader of TensorFlow's tables."""

import struct
from typing import Any

import pytest

from flax_lite.checkpoints.formats.tf_table import read_table
from tests.flax_lite.checkpoints.formats import tf_files
from tests.flax_lite.checkpoints.formats.tf_files import block, entry, handle, table, table_of
from tests.flax_lite.tokenization.tiny_files import varint

PAIRS = [(b"", b"header"), (b"a", b""), (b"ab", b"1" * 200), (b"abc/d", b"2"), (b"abc/e", b"3"), (b"b", b"4")]


def read(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(key, bytes(value)) for key, value in read_table(memoryview(data))]


@pytest.mark.parametrize("pairs_in_block", [1, 2, 3, 100])
def test_pairs_round_trip_through_any_number_of_blocks(pairs_in_block: int) -> None:
    assert read(table(PAIRS, pairs_in_block=pairs_in_block)) == PAIRS


def test_empty_table_has_no_pairs() -> None:
    assert read(table([])) == []


def test_every_truncation_is_refused() -> None:
    data = table(PAIRS)
    for size in range(len(data)):
        with pytest.raises(ValueError, match=r"truncated|beyond|checksum|does not fit|inside a number"):
            read(data[:size])


def of_block(entries: bytes, **options: Any) -> bytes:
    return table_of([block(entries, **options)])


HUGE = varint(2**62)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it has 0 bytes"),
        (table(PAIRS)[:-8] + bytes(8), "does not end like a table"),
        (bytes(40) + tf_files.MAGIC, "block of 0 bytes at 0 reaches beyond"),
        ((handle(0, 0) + handle(0, 2**62)).ljust(40) + tf_files.MAGIC, "block of 4611686018427387904 bytes at 0"),
        (b"\xff" * 40 + tf_files.MAGIC, "more than 64 bits"),
        (table(PAIRS, compression=1), r"compressed \(Snappy\)"),
        (table(PAIRS, compression=7), r"compressed \(method 7\)"),
        (of_block(HUGE + b"\0\0"), "key of 4611686018427387904"),
        (of_block(b"\0" + HUGE + b"\0"), "does not fit at"),
        (of_block(b"\0\0" + HUGE), "does not fit at"),
        (of_block(b"\x01\0\0"), "key of 1"),
        (of_block(b"\0\x01"), "inside a number"),
        (of_block(b"", restarts=struct.pack("<I", 2**31)), "claims 2147483648 restart positions"),
        (of_block(b"", restarts=b"\0"), "block of 1 bytes"),
        (table([(b"b", b""), (b"a", b"")]), "keys are not in order"),
        (table([(b"a", b""), (b"a", b"")]), "keys are not in order"),
        (table([(b"a", b""), (b"a", b"")], pairs_in_block=1), "keys are not in order"),
        (of_block(entry(b"k" * 1025, b"")), "key has 1025 bytes, expected at most 1024"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_tables_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read(data)


def test_total_size_of_keys_is_bounded() -> None:
    """A small file could claim gigabytes: a long key, and many keys that share it as their prefix."""
    key = b"k" * 1000
    entries = entry(key, b"") + b"".join(entry(key + struct.pack(">I", i), b"", 1000) for i in range(2**16))
    with pytest.raises(ValueError, match="more than 65536 keys"):
        read(of_block(entries))


def test_flipped_bits_in_blocks_are_detected() -> None:
    data = table(PAIRS, pairs_in_block=2)
    filters = data.index(block(b""))
    for position in [*range(filters), *range(filters + len(block(b"")), len(data) - 48)]:
        with pytest.raises(ValueError, match="checksum"):
            read(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
