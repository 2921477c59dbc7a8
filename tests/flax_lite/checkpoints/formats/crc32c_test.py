"""Tests of CRC-32C, against published values and the definition."""

import numpy as np
import pytest

from flax_lite.checkpoints.formats.crc32c import crc32c, masked_crc32c


def bytewise(data: bytes) -> int:
    """CRC-32C by its definition: polynomial division, bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_crc32c_equals_published_values(data: bytes, expected: int) -> None:
    """RFC 3720, appendix B.4, and the check value of the catalog of CRCs."""
    assert crc32c(np.frombuffer(data, np.uint8)) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 32767, 32768, 32769, 65536, 70001])
def test_crc32c_equals_the_definition_at_every_boundary(size: int) -> None:
    """Sizes around words and rows (at most 32 KiB), at an address that is not a multiple of a word."""
    data = np.random.default_rng(size).integers(0, 256, size + 1, np.uint8)[1:]
    assert crc32c(data) == bytewise(data.tobytes())


def test_masked_crc32c_is_leveldbs_masking() -> None:
    """Unmasking returns the CRC (leveldb/util/crc32c.h, Unmask)."""
    rotated = (masked_crc32c(np.frombuffer(b"123456789", np.uint8)) - 0xA282EAD8) % 2**32
    assert (rotated >> 17 | rotated << 15) % 2**32 == 0xE3069283
