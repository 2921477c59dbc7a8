import struct

import pytest

from flax_lite.tokenization.sentencepiece_model import USER_DEFINED, parse_sentencepiece_model
from tests.flax_lite.tokenization import tiny_files


def charsmap_of(units: list[int], texts: bytes) -> bytes:
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + texts


def test_reader_returns_what_was_written():
    model = parse_sentencepiece_model(tiny_files.sentencepiece_file())
    assert (
        list(zip(model.pieces, model.scores, model.types, strict=True)) == tiny_files.PIECES
    )  # scores are exact floats
    assert model.unk_id == 1
    assert model.of_type(USER_DEFINED) == ["(", ")", '"', "-", "."]
    assert model.charsmap == b""


def test_reader_skips_unknown_fields():
    unknown = (
        tiny_files.int_field(900, 1 << 60) + tiny_files.bytes_field(901, b"x" * 300) + tiny_files.tag(902, 1) + bytes(8)
    )
    assert parse_sentencepiece_model(unknown + tiny_files.sentencepiece_file() + unknown).unk_id == 1


def test_reader_agrees_with_sentencepiece_on_the_albert_model(shared_data):
    sentencepiece = pytest.importorskip("sentencepiece")
    path = shared_data / "tokenizers" / "albert" / "spiece.model"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    model = parse_sentencepiece_model(path.read_bytes())
    ids = range(processor.get_piece_size())
    assert list(model.pieces) == [processor.id_to_piece(i) for i in ids]
    assert list(model.scores) == [processor.get_score(i) for i in ids]
    assert len(model.charsmap) == 237539
    assert model.of_type(USER_DEFINED) == list('()"-.–£€')


def test_every_truncation_is_refused():
    """A truncated file has a length past its end, or lacks the normalizer's settings, which come last."""
    data = tiny_files.sentencepiece_file()
    for size in range(len(data)):
        with pytest.raises(ValueError):  # noqa: PT011 - the message depends on the position
            parse_sentencepiece_model(data[:size])


def test_lengths_are_checked_before_anything_is_allocated():
    claims_an_exabyte = tiny_files.tag(1, 2) + tiny_files.varint(1 << 60) + b"abc"
    with pytest.raises(ValueError, match=r"claims 1152921504606846976 bytes where 3 are left"):
        parse_sentencepiece_model(claims_an_exabyte)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no pieces and no trainer settings and no normalizer settings"),
        (b"\x80" * 11, "more than 64 bits"),
        (b"\x00", "field number 0"),
        (tiny_files.tag(1, 3), "wire type 3"),
        (tiny_files.int_field(1, 5), "stored as a number"),
        (tiny_files.sentencepiece_file(trainer=None), "no trainer settings"),
        (tiny_files.sentencepiece_file(normalizer=None), "no normalizer settings"),
        (tiny_files.sentencepiece_file(trainer=tiny_files.int_field(3, 2)), "a BPE model"),
        (tiny_files.sentencepiece_file(trainer=tiny_files.int_field(35, 1)), "byte_fallback=True"),
        (tiny_files.sentencepiece_file(normalizer=tiny_files.int_field(3, 0)), "add_dummy_prefix=False"),
        (tiny_files.sentencepiece_file([*tiny_files.PIECES, ("a", -1.0, 1)]), "for example 'a'"),
        (tiny_files.sentencepiece_file([*tiny_files.PIECES, ("", -1.0, 1)]), "a piece is empty"),
        (tiny_files.sentencepiece_file([*tiny_files.PIECES, ("x", float("nan"), 1)]), "score nan"),
        (tiny_files.sentencepiece_file([*tiny_files.PIECES, ("<0x41>", -1.0, 6)]), "has type 6"),
        (tiny_files.sentencepiece_file([*tiny_files.PIECES, ("<other>", 0.0, 2)]), "2 pieces have the type `unknown`"),
        (tiny_files.bytes_field(1, tiny_files.bytes_field(1, b"\xff\xfe")), "not valid UTF-8"),
        (tiny_files.bytes_field(1, tiny_files.bytes_field(1, b"a") + tiny_files.bytes_field(2, b"a")), "32-bit float"),
    ],
)
def test_malformed_models_are_one_clear_error(data, message):
    with pytest.raises(ValueError, match=message):
        parse_sentencepiece_model(data)


@pytest.mark.parametrize(
    ("charsmap", "message"),
    [
        (b"abc", "damaged"),
        (struct.pack("<I", 400) + bytes(8), "declares 400 of 12 bytes"),
        (charsmap_of([0], b"\0"), "index out of range"),  # fewer units than one block of children
        (charsmap_of([1 << 30] + [0] * 255, b"\0"), "index out of range"),  # an offset past the end
        (charsmap_of([0] * 255 + [1 << 31 | 7], b"a\0"), "index out of range"),  # a text past the end
        (charsmap_of([0] * 255 + [1 << 31 | 1], "é\0".encode()), "inside a UTF-8 character"),
        (charsmap_of([0] * 256, b"\xff\0"), "not valid UTF-8"),
    ],
)
def test_a_damaged_character_map_is_refused(charsmap, message):
    """`tokenizers` reads such a map without an error, and panics at the first text that reaches the damage."""
    data = tiny_files.sentencepiece_file(normalizer=tiny_files.bytes_field(2, charsmap))
    with pytest.raises(ValueError, match=message):
        parse_sentencepiece_model(data)
