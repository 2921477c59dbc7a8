"""Checks of a tokenizer.json for parts on which the `tokenizers` library would fail or panic at some later text."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from flax_lite.tokenization import load_tokenizer
from tests.flax_lite.tokenization.tiny_files import bytes_field, tiny_charsmap, write_sentencepiece, write_vocab


@pytest.fixture(params=["unigram", "wordpiece"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with only the tokenizer.json of a tiny tokenizer."""
    if request.param == "unigram":
        write_sentencepiece(tmp_path, normalizer=bytes_field(2, tiny_charsmap()))
    else:
        write_vocab(tmp_path)
    load_tokenizer(tmp_path).save(tmp_path / request.param)
    for name in ("spiece.model", "vocab.txt"):
        (tmp_path / request.param / name).unlink(missing_ok=True)
    return tmp_path / request.param


def edit(directory: Path, change: Any) -> Path:
    values = json.loads((directory / "tokenizer.json").read_text())
    change(values)
    (directory / "tokenizer.json").write_text(json.dumps(values))
    return directory


@pytest.mark.parametrize("value", [None, "absent", -1, 10**6, True, [0], {}])
def test_pipeline_without_an_unknown_piece_is_refused(value: Any, saved: Path) -> None:
    """The library reads such a file, and raises a bare Exception at the first text that it cannot encode."""
    key = "unk_id" if saved.name == "unigram" else "unk_token"
    edit(saved, lambda values: values["model"].update({key: value}))
    with pytest.raises(ValueError, match=f"its {key} is"):
        load_tokenizer(saved)


def charsmap_in(values: dict[str, Any]) -> dict[str, Any]:
    steps = values["normalizer"]["normalizers"]
    return next(step for step in steps if "precompiled_charsmap" in step)


def changed(unit: int, value: int) -> bytes:
    data = bytearray(tiny_charsmap())
    struct.pack_into("<I", data, 4 + 4 * unit, value)
    return bytes(data)


HOSTILE = {
    "empty": b"",
    "truncated": tiny_charsmap()[:100],
    "a child outside": changed(0, 10**6 << 10),
    "a root that is a leaf": changed(0, 1 << 31 | 1 << 20 << 10),
    "a text outside": changed(321 ^ 768, 1 << 31 | 99),
    # Not marked as a leaf, but read as one, because a key ends there.
    "a text outside, unmarked": changed(321 ^ 768, 99),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("saved", ["unigram"], indirect=True)
def test_character_map_with_an_index_out_of_range_is_refused(name: str, saved: Path) -> None:
    """The library panics on it, when it reads the file or at some text; a panic is not an Exception in Python."""
    text = base64.b64encode(HOSTILE[name]).decode()
    edit(saved, lambda values: charsmap_in(values).update(precompiled_charsmap=text))
    with pytest.raises(ValueError, match="its normalizer cannot be used"):
        load_tokenizer(saved)


@pytest.mark.parametrize("value", [None, 3, "no base64", ["AAAA"]])
@pytest.mark.parametrize("saved", ["unigram"], indirect=True)
def test_character_map_that_is_not_base64_is_refused(value: Any, saved: Path) -> None:
    edit(saved, lambda values: charsmap_in(values).update(precompiled_charsmap=value))
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a usable tokenizer"):
        load_tokenizer(saved)


def test_intact_pipelines_are_read(saved: Path) -> None:
    tokenizer = load_tokenizer(saved)
    assert tokenizer.encode(["A cat"]) == tokenizer.encode(["a cat"])


@pytest.mark.parametrize("saved", ["unigram"], indirect=True)
def test_panic_of_the_library_becomes_a_value_error(saved: Path) -> None:
    """Found by the fuzzer: tokenizers 0.22 panics on an empty regular expression."""
    edit(saved, lambda values: values["normalizer"]["normalizers"][0]["pattern"].update(Regex=""))
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a usable tokenizer: the tokenizers library panicked"):
        load_tokenizer(saved)


CATASTROPHES = {
    "nested Replace": lambda values: values.update(
        normalizer={
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 30,
        }
    ),
    "a repeat in a repeat": lambda values: values.update(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated", "invert": False}
    ),
    "in the decoder": lambda values: values.update(
        decoder={
            "type": "Sequence",
            "decoders": [{"type": "Replace", "pattern": {"Regex": "."}, "content": "aa"}] * 30,
        }
    ),
}


@pytest.mark.parametrize("name", CATASTROPHES)
def test_steps_without_a_bound_are_refused(name: str, saved: Path) -> None:
    edit(saved, CATASTROPHES[name])
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a usable tokenizer: its .* may "):
        load_tokenizer(saved)


TOO_LARGE = {"continuing_subword_prefix": "#" * 33, "max_input_chars_per_word": 10**9}


@pytest.mark.parametrize("key", TOO_LARGE)
@pytest.mark.parametrize("saved", ["wordpiece"], indirect=True)
def test_word_limits_that_allow_quadratic_time_are_refused(key: str, saved: Path) -> None:
    edit(saved, lambda values: values["model"].update({key: TOO_LARGE[key]}))
    with pytest.raises(ValueError, match=f"its {key} (has|is) .*expected at most"):
        load_tokenizer(saved)


@pytest.mark.parametrize("saved", ["unigram"], indirect=True)
def test_character_map_with_a_long_replacement_is_refused(saved: Path) -> None:
    data = tiny_charsmap()
    size = int.from_bytes(data[:4], "little")
    units, texts = data[4 : 4 + size], data[4 + size :]
    first = texts.index(b"\0")
    longer = texts[:first] + b"x" * 65 + texts[first:]
    assert len(longer) == len(texts) + 65
    text = base64.b64encode(data[:4] + units + longer).decode()
    edit(saved, lambda values: charsmap_in(values).update(precompiled_charsmap=text))
    with pytest.raises(ValueError, match=r"its character map writes \d+ bytes for a character; expected at most 64"):
        load_tokenizer(saved)
