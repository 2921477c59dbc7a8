"""Tiny tokenizer files written by hand, so that the tests do not depend on the shared data.

The writer follows the description of the protocol-buffer wire format, independently of the reader under test.
"""

import struct
from pathlib import Path

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4

SPECIALS = [("<pad>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)] + [
    (s, 0.0, CONTROL) for s in ("[CLS]", "[SEP]", "[MASK]")
]
MARKS = [(mark, 0.0, USER_DEFINED) for mark in '()"-.']
LETTERS = [(letter, -8.0 - index / 32, NORMAL) for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz")]
DIGITS = [(digit, -9.0 - index / 32, NORMAL) for index, digit in enumerate("0123456789")]
# With these scores it matters for "1,050" that the piece "▁1," is chosen first and split afterwards:
# "▁1," "050" -7, "▁" "1,0" "50" -9, "▁1" "," "050" -12. In "21,050", "▁2" "1,0" "50" is the best anyway.
NUMBERS = [("▁1,", -3.0), ("▁1", -5.0), ("050", -4.0), ("1,0", -4.0), ("50", -3.0), ("▁2", -4.0), ("▁12,", -4.0)]
WORDS = [
    ("▁", -2.0),
    ("▁the", -2.5),
    (",", -3.0),
    ("▁cat", -4.0),
    ("s", -4.5),
    ("ca", -6.0),
    ("▁sat", -5.0),
    ("'", -7.0),
]
PIECES = (
    SPECIALS
    + MARKS
    + [(piece, score, NORMAL) for piece, score in WORDS + NUMBERS]
    + [letter for letter in LETTERS if letter[0] != "s"]
    + DIGITS
)

VOCAB = [
    *["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    *["the", "cat", "sat", "##s", "un", "##want", "##ed", "want", ",", ".", "-", "'", "s", "##a", "a", "b", "##b"],
]
# The Chinese ALBERT models use BERT's vocabulary of single characters.
CHINESE_VOCAB = [*VOCAB[:5], *"今天气很好日本", "##本", "a", "##b", "##c", ",", "。", "the"]


def sentencepiece_file(
    pieces: list[tuple[str, float, int]] = PIECES,
    *,
    trainer: bytes | None = b"",
    normalizer: bytes | None = b"",
) -> bytes:
    """Returns a `.model` file; None leaves out a part."""
    data = b"".join(bytes_field(1, piece_message(*piece)) for piece in pieces)
    if trainer is not None:
        data += bytes_field(2, int_field(3, 1) + int_field(4, len(pieces)) + int_field(40, 1) + trainer)
    if normalizer is not None:
        data += bytes_field(3, bytes_field(1, b"identity") + normalizer)
    return data


def piece_message(text: str, score: float, kind: int) -> bytes:
    message = bytes_field(1, text.encode()) + tag(2, 5) + struct.pack("<f", score)
    return message if kind == NORMAL else message + int_field(3, kind)  # SentencePiece omits the default


def int_field(number: int, value: int) -> bytes:
    return tag(number, 0) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    return tag(number, 2) + varint(len(value)) + value


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def varint(value: int) -> bytes:
    if value < 0x80:
        return bytes([value])
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def tiny_charsmap() -> bytes:
    """Returns SentencePiece's compiled form of one rule, "A" to "a": a double array of 32-bit units, then the texts.

    Unit 0 is the root, with children at 256 XOR character. The unit of "A" (65) says that a key ends there and where
    its leaf is, at 321 XOR 768. The leaf says that the replacement starts at 0.
    """
    units = [0] * 768
    units[0] = 256 << 10
    units[256 ^ ord("A")] = 768 << 10 | 1 << 8 | ord("A")
    units[321 ^ 768] = 1 << 31 | 0
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + b"a\0"


def write_sentencepiece(directory: Path, **options) -> Path:
    path = directory / "spiece.model"
    path.write_bytes(sentencepiece_file(**options))
    return path


def write_vocab(directory: Path, pieces: list[str] = VOCAB) -> Path:
    path = directory / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    return path
