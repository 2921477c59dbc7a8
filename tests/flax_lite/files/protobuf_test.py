"""Tests of the protocol-buffer reader; complete messages are tested with the readers that use it."""

import pytest

from flax_lite.files.protobuf import fields, integer, message, varint
from tests.flax_lite.tokenization.tiny_files import bytes_field, int_field, tag
from tests.flax_lite.tokenization.tiny_files import varint as encoded


def test_fields_yields_numbers_and_views_in_order() -> None:
    data = memoryview(int_field(1, 2**64 - 1) + bytes_field(1, b"ab") + tag(300, 5) + b"1234" + tag(4, 1) + b"12345678")
    found = list(fields(data))
    assert [number for number, _ in found] == [1, 1, 300, 4]
    assert [value if isinstance(value, int) else bytes(value) for _, value in found] == [
        2**64 - 1,
        b"ab",
        b"1234",
        b"12345678",
    ]


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
def test_varint_is_the_inverse_of_encoding(value: int) -> None:
    data = memoryview(b"x" + encoded(value) + b"y")
    assert varint(data, 1) == (value, len(data) - 1)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x80", "ends inside a number"),
        (b"\x80" * 11, "more than 64 bits"),
        (b"\x00", "field number 0"),
        (tag(1, 3), "wire type 3"),
        (tag(1, 2) + encoded(2**60) + b"abc", "claims 1152921504606846976 bytes where 3 are left"),
        (tag(1, 1) + b"1234567", "claims 8 bytes where 7 are left"),
    ],
)
def test_malformed_messages_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        list(fields(memoryview(data)))


def test_values_of_another_wire_type_are_refused() -> None:
    assert integer(3, "size") == 3
    assert bytes(message(memoryview(b"a"), "shape")) == b"a"
    with pytest.raises(ValueError, match="size is not stored as a number"):
        integer(memoryview(b"a"), "size")
    with pytest.raises(ValueError, match="a shape is stored as a number"):
        message(3, "shape")
