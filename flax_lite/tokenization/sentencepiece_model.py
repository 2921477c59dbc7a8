"""Reads SentencePiece's `.model` files.

The packages `sentencepiece` and `protobuf` are not dependencies, and the messages are few, so
`flax_lite.files.protobuf` reads them.

Source of the field numbers: sentencepiece/src/sentencepiece_model.proto.
"""

import dataclasses
import math
import struct
from collections import Counter

import numpy as np

from flax_lite.files import protobuf

# sentencepiece_model.proto: ModelProto, ModelProto.SentencePiece, TrainerSpec, NormalizerSpec.
_MODEL_PIECE, _MODEL_TRAINER, _MODEL_NORMALIZER = 1, 2, 3
_PIECE_TEXT, _PIECE_SCORE, _PIECE_TYPE = 1, 2, 3
_TRAINER_MODEL_TYPE, _TRAINER_SUFFIX_SPACE, _TRAINER_BYTE_FALLBACK = 3, 24, 35
_NORMALIZER_CHARSMAP, _NORMALIZER_DUMMY_PREFIX, _NORMALIZER_TRIM_SPACES, _NORMALIZER_ESCAPE_SPACES = 2, 3, 4, 5
_MODEL_TYPES = {1: "unigram", 2: "BPE", 3: "word", 4: "character"}
# Bytes that the character map may write for one character; NFKC writes at most 33 (for U+FDFA).
_MAX_REPLACEMENT = 64

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
_SPACE = "▁"
_PIECE_TYPES = {NORMAL: "normal", UNKNOWN: "unknown", CONTROL: "control", USER_DEFINED: "user defined"}


@dataclasses.dataclass(frozen=True)
class SentencePieceModel:
    """The content of a unigram model file.

    Attributes:
        pieces: the vocabulary in id order.
        scores: the log probability of each piece (0 for types without one).
        types: the type of each piece: NORMAL, UNKNOWN, CONTROL or USER_DEFINED.
        charsmap: SentencePiece's compiled character normalization; may be empty.
    """

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]
    charsmap: bytes

    @property
    def unk_id(self) -> int:
        """The id of the one piece of type UNKNOWN."""
        return self.types.index(UNKNOWN)

    def of_type(self, kind: int) -> list[str]:
        """Returns the pieces of one type, in id order."""
        return [piece for piece, type_ in zip(self.pieces, self.types, strict=True) if type_ == kind]


def parse_sentencepiece_model(data: bytes) -> SentencePieceModel:
    """Parses the bytes of a `.model` file.

    Lengths are checked against the remaining bytes before anything is copied. The trainer's and the normalizer's
    settings come after the pieces and are required, so every truncated file is refused.

    Raises:
        ValueError: if the data is malformed or truncated, or not a unigram model; the caller adds the name of the file.

    Source: sentencepiece/src/sentencepiece_model.proto.
    """
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, int | memoryview] | None = None
    normalizer: dict[int, int | memoryview] | None = None
    for number, value in protobuf.fields(memoryview(data)):
        if number == _MODEL_PIECE:
            pieces.append(_piece(protobuf.message(value, "piece")))
        elif number == _MODEL_TRAINER:
            trainer = dict(protobuf.fields(protobuf.message(value, "trainer settings")))
        elif number == _MODEL_NORMALIZER:
            normalizer = dict(protobuf.fields(protobuf.message(value, "normalizer settings")))
    if not pieces or trainer is None or normalizer is None:
        parts = (("pieces", pieces), ("trainer settings", trainer), ("normalizer settings", normalizer))
        missing = [name for name, part in parts if not part and part != {}]
        raise ValueError(f"it holds no {' and no '.join(missing)}: truncated, or not a SentencePiece model")
    _check_settings(trainer, normalizer)
    _check_pieces(pieces)
    charsmap = bytes(protobuf.message(normalizer.get(_NORMALIZER_CHARSMAP, memoryview(b"")), "character map"))
    check_charsmap(charsmap)
    texts, scores, types = zip(*pieces, strict=True)
    return SentencePieceModel(texts, scores, types, charsmap)


def _piece(data: memoryview) -> tuple[str, float, int]:
    text, score, type_ = None, 0.0, NORMAL
    for number, value in protobuf.fields(data):
        if number == _PIECE_TEXT:
            try:
                text = str(protobuf.message(value, "piece"), "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError("a piece is not valid UTF-8") from error
        elif number == _PIECE_SCORE:
            raw = protobuf.message(value, "score")
            if len(raw) != 4:
                raise ValueError("a score is not a 32-bit float")
            score = struct.unpack("<f", raw)[0]
        elif number == _PIECE_TYPE:
            type_ = protobuf.integer(value, "piece type")
    if not text:
        raise ValueError("a piece is empty")
    if not math.isfinite(score):
        raise ValueError(f"piece {text!r} has score {score}")
    if type_ not in _PIECE_TYPES:
        raise ValueError(f"piece {text!r} has type {type_}; expected one of {_PIECE_TYPES}")
    return text, score, type_


def _check_settings(trainer: dict[int, int | memoryview], normalizer: dict[int, int | memoryview]) -> None:
    model_type = protobuf.integer(trainer.get(_TRAINER_MODEL_TYPE, 1), "model type")
    if model_type != 1:
        raise ValueError(f"it is a {_MODEL_TYPES.get(model_type, model_type)} model; expected a unigram model")
    expected = (
        (trainer, _TRAINER_SUFFIX_SPACE, "treat_whitespace_as_suffix", 0),
        (trainer, _TRAINER_BYTE_FALLBACK, "byte_fallback", 0),
        (normalizer, _NORMALIZER_DUMMY_PREFIX, "add_dummy_prefix", 1),
        (normalizer, _NORMALIZER_TRIM_SPACES, "remove_extra_whitespaces", 1),
        (normalizer, _NORMALIZER_ESCAPE_SPACES, "escape_whitespaces", 1),
    )
    for settings, number, name, wanted in expected:
        given = protobuf.integer(settings.get(number, wanted), name)
        if bool(given) != bool(wanted):
            raise ValueError(f"it was trained with {name}={bool(given)}; only {name}={bool(wanted)} is supported")


def _check_pieces(pieces: list[tuple[str, float, int]]) -> None:
    duplicates = [text for text, count in Counter(text for text, _, _ in pieces).items() if count > 1]
    if duplicates:
        raise ValueError(f"{len(duplicates)} pieces occur more than once, for example {duplicates[0]!r}")
    unknown = [text for text, _, type_ in pieces if type_ == UNKNOWN]
    if len(unknown) != 1:
        raise ValueError(f"{len(unknown)} pieces have the type `unknown` ({unknown}); expected exactly one")

    # The pipeline splits text into words first: within one word, sums of scores are exact enough to compare.
    across = [text for text, _, _ in pieces if _SPACE in text.strip(_SPACE)]
    if across:
        raise ValueError(
            f"{len(across)} pieces contain a space, for example {across[0]!r} (trained with split_by_whitespace=False, "
            "or user-defined); expected pieces within one word"
        )


def check_charsmap(charsmap: bytes) -> None:
    """Checks a character map for indices out of range, on which `tokenizers` would panic at some later text.

    The map is a 32-bit size, a Darts double array of that many bytes, and replacement texts that each end in a zero
    byte. A unit whose highest bit is set is a leaf; its other bits are the index of a replacement text. The children of
    any other unit are in the block of 256 units at its offset; if its bit 8 is set, a key ends there, and its first
    child is a leaf.

    Raises:
        ValueError: if an index is out of range, or a replacement is not UTF-8 or longer than 64 bytes.

    Source: sentencepiece/third_party/darts_clone/darts.h, DoubleArrayUnit; sentencepiece/src/normalizer.cc.
    """
    if not charsmap:
        return
    size = int.from_bytes(charsmap[:4], "little")
    if size == 0 or size % 4 or size > len(charsmap) - 4:
        raise ValueError(f"its character map declares {size} of {len(charsmap)} bytes: damaged")
    units = np.frombuffer(charsmap, "<u4", size // 4, offset=4)
    texts = np.frombuffer(charsmap, np.uint8, offset=4 + size)
    leaf = units >> 31 == 1
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    last_child = (np.arange(len(units), dtype=np.uint32) ^ offsets) | 0xFF
    if leaf[0] or (last_child[~leaf] >= len(units)).any():
        raise ValueError("its character map has an index out of range: damaged")
    # The first child where a key ends is read as the index of a text, whether or not it is marked as a leaf.
    ends = np.flatnonzero(~leaf & (units >> 8 & 1 == 1))
    text_index = np.concatenate([units[leaf], units[ends ^ offsets[ends]]]) & 0x7FFFFFFF
    if (text_index >= len(texts)).any():
        raise ValueError("its character map has an index out of range: damaged")
    inside_character = texts[text_index] & 0xC0 == 0x80
    try:
        bytes(texts).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("its character map is not valid UTF-8: damaged") from error
    ends_of_texts = np.append(np.flatnonzero(texts == 0), len(texts))
    longest = int((ends_of_texts[np.searchsorted(ends_of_texts, text_index)] - text_index).max(initial=0))
    if longest > _MAX_REPLACEMENT:
        raise ValueError(
            f"its character map writes {longest} bytes for a character; expected at most {_MAX_REPLACEMENT}"
        )
    if inside_character.any():
        raise ValueError("its character map has an index inside a UTF-8 character: damaged")
