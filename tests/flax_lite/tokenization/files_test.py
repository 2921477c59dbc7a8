"""Tests of a tokenizer's files that are none: what is said, and that nothing is waited for or read without end."""

import shutil

import pytest

from flax_lite.files.names import TOKENIZER_FILES
from flax_lite.tokenization import load_tokenizer
from tests.flax_lite.files.special import SPECIAL
from tests.flax_lite.tokenization import tiny_files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Directories with a tokenizer, by the file that is read first."""
    made = {}
    for name, write in (("spiece.model", tiny_files.write_sentencepiece), ("vocab.txt", tiny_files.write_vocab)):
        made[name] = tmp_path_factory.mktemp("tokenizer")
        load_tokenizer(write(made[name])).save(made[name])
        for each in ("added_tokens.json", "special_tokens_map.json"):
            (made[name] / each).write_text("{}")
        (made[name] / "tokenizer_config.json").write_text("{}")
    return made


def copied(whole, name, tmp_path):
    """A directory in which the file is read."""
    directory = shutil.copytree(whole[name if name in whole else "vocab.txt"], tmp_path / "tokenizer")
    if name in ("vocab.txt", "added_tokens.json"):
        (directory / "tokenizer.json").unlink()  # which says all of that itself
    return directory


@pytest.mark.parametrize("what", SPECIAL)
@pytest.mark.parametrize("name", TOKENIZER_FILES)
def test_special_files_are_refused_by_name(name, what, whole, tmp_path):
    directory = copied(whole, name, tmp_path)
    (directory / name).unlink(missing_ok=True)
    make, message = SPECIAL[what]
    make(directory / name)
    with pytest.raises(ValueError, match=message) as caught:
        load_tokenizer(directory)
    assert str(directory / name) in str(caught.value)


@pytest.mark.parametrize("name", [name for name in TOKENIZER_FILES if name != "spiece.model"])
def test_byte_order_mark_is_named(name, whole, tmp_path):
    directory = copied(whole, name, tmp_path)
    (directory / name).write_bytes(b"\xef\xbb\xbf" + (directory / name).read_bytes())
    with pytest.raises(ValueError, match=rf"{name}.*byte order mark \(UTF-8\): save it as UTF-8 without one"):
        load_tokenizer(directory)
