"""Reads SentencePiece's `.model` files without SentencePiece.

Field numbers: sentencepiece/src/sentencepiece_model.proto.
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
# Bytes written for a character: NFKC's longest are 33 (U+FDFA).
_MAX_REPLACEMENT = 64

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
_SPACE = "▁"
_PIECE_TYPES = {NORMAL: "normal", UNKNOWN: "unknown", CONTROL: "control", USER_DEFINED: "user defined"}


@dataclasses.dataclass(frozen=True)
class SentencePieceModel:
    """What a unigram model file says.

    Attributes:
        pieces: the vocabulary in id order.
        scores: one log probability a piece (0 where the type gives none).
        types: one of NORMAL, UNKNOWN, CONTROL, USER_DEFINED a piece.
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
        """The pieces of one type, in id order."""
        return [piece for piece, type_ in zip(self.pieces, self.types, strict=True) if type_ == kind]


def parse_sentencepiece_model(data: bytes) -> SentencePieceModel:
    """Parses the bytes of a `.model` file.

    Lengths are checked against what is left before anything is copied. The trainer's and the normalizer's settings come
    after the pieces and must be there, so a file cut short anywhere is refused.

    Raises:
        ValueError: malformed, cut short, or a kind of model that no encoder here uses; the message does not name the
            file, the caller does.

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
        lacking = [
            name
            for name, there in (("pieces", pieces), ("trainer settings", trainer), ("normalizer settings", normalizer))
            if not there and there != {}
        ]
        raise ValueError(f"it holds no {' and no '.join(lacking)}: cut short, or not a SentencePiece model")
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
        raise ValueError(f"it is a {_MODEL_TYPES.get(model_type, model_type)} model; only unigram models are read")
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
    doubled = [text for text, count in Counter(text for text, _, _ in pieces).items() if count > 1]
    if doubled:
        raise ValueError(f"{len(doubled)} pieces occur more than once, {doubled[0]!r} among them")
    unknown = [text for text, _, type_ in pieces if type_ == UNKNOWN]
    if len(unknown) != 1:
        raise ValueError(f"{len(unknown)} pieces have the type `unknown` ({unknown}); expected exactly one")

    # Text is cut into words first, where the sums of scores are exact enough to tell every choice.
    across = [text for text, _, _ in pieces if _SPACE in text.strip(_SPACE)]
    if across:
        raise ValueError(
            f"{len(across)} pieces reach across spaces, {across[0]!r} among them (trained with "
            "split_by_whitespace=False, or user-defined); only pieces of one word are supported"
        )


def check_charsmap(charsmap: bytes) -> None:
    """Refuses a map with an index out of range, on which `tokenizers` would panic at some later text.

    The map is a 32-bit size, a Darts double array of that many bytes, and replacement texts ended by zero bytes. A unit
    with its highest bit set is a leaf, and its other bits the index of a text; the children of any other unit lie in
    the block of 256 units that its offset says, and the first of them is a leaf if bit 8 says that a key ends there.

    Source: sentencepiece/third_party/darts_clone/darts.h, DoubleArrayUnit; sentencepiece/src/normalizer.cc.
    """
    if not charsmap:
        return
    size = int.from_bytes(charsmap[:4], "little")
    if size == 0 or size % 4 or size > len(charsmap) - 4:
        raise ValueError(f"its character map says {size} bytes of {len(charsmap)}: damaged")
    units = np.frombuffer(charsmap, "<u4", size // 4, offset=4)
    texts = np.frombuffer(charsmap, np.uint8, offset=4 + size)
    leaf = units >> 31 == 1
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    last_child = (np.arange(len(units), dtype=np.uint32) ^ offsets) | 0xFF
    if leaf[0] or (last_child[~leaf] >= len(units)).any():
        raise ValueError("its character map points outside itself: damaged")
    # What a key ends in is taken for a text's index, marked as a leaf or not.
    ends = np.flatnonzero(~leaf & (units >> 8 & 1 == 1))
    text_index = np.concatenate([units[leaf], units[ends ^ offsets[ends]]]) & 0x7FFFFFFF
    if (text_index >= len(texts)).any():
        raise ValueError("its character map points outside itself: damaged")
    inside_character = texts[text_index] & 0xC0 == 0x80
    try:
        bytes(texts).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("its character map is not valid UTF-8: damaged") from error
    ends_of_texts = np.append(np.flatnonzero(texts == 0), len(texts))
    longest = int((ends_of_texts[np.searchsorted(ends_of_texts, text_index)] - text_index).max(initial=0))
    if longest > _MAX_REPLACEMENT:
        raise ValueError(
            f"its character map writes {longest} bytes for a character, expected at most {_MAX_REPLACEMENT}"
        )
    if inside_character.any():
        raise ValueError("its character map points into a character: damaged")
