"""Strict reader of the protocol-buffer wire format, for the few message types of TensorFlow and SentencePiece files.

Not the package protobuf: it needs classes generated from the .proto files of both, and copies every field.
Source: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

# Wire types.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields the fields of a message in order: field number, and an integer or a view of the bytes.

    Every length is checked against the bytes that are left; nothing is copied.

    Raises:
        ValueError: if the message is malformed or truncated.
    """
    position = 0
    while position < len(data):
        tag, position = varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise ValueError(f"field number 0 at byte {position}: damaged, or another kind of file")
        if wire_type == _VARINT:
            value, position = varint(data, position)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, position = varint(data, position)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}: damaged, or another kind of file")
        if size > len(data) - position:
            raise ValueError(f"a field claims {size} bytes where {len(data) - position} are left: truncated or damaged")
        yield number, data[position : position + size]
        position += size


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """Returns an integer of up to 64 bits, encoded in groups of seven bits, and the position after it.

    Raises:
        ValueError: if the data is truncated, or the integer has more than 64 bits.
    """
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("it ends inside a number: truncated")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"a number of more than 64 bits at byte {position}: damaged, or another kind of file")


def message(value: int | memoryview, what: str) -> memoryview:
    """Returns a field's value as bytes; `what` names the field in the error.

    Raises:
        ValueError: if the value is a number.
    """
    if isinstance(value, int):
        raise ValueError(f"a {what} is stored as a number")
    return value


def integer(value: int | memoryview, what: str) -> int:
    """Returns a field's value as a number; `what` names the field in the error.

    Raises:
        ValueError: if the value is bytes.
    """
    if not isinstance(value, int):
        raise ValueError(f"{what} is not stored as a number")
    return value
