"""Tokenizer files that are not regular files are refused by name, without blocking or unbounded reads."""

import shutil

import pytest

from flax_lite.files.names import TOKENIZER_FILES
from flax_lite.tokenization import load_tokenizer
from tests.flax_lite.files.special import SPECIAL
from tests.flax_lite.tokenization import tiny_files


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """Directories with a tokenizer, by the file that is read first."""
    found = {}
    for name, write in (("spiece.model", tiny_files.write_sentencepiece), ("vocab.txt", tiny_files.write_vocab)):
        found[name] = tmp_path_factory.mktemp("tokenizer")
        load_tokenizer(write(found[name])).save(found[name])
        for settings in ("added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"):
            (found[name] / settings).write_text("{}")
    return found


def copied(directories, name, tmp_path):
    """Returns a directory in which the file `name` is read."""
    directory = shutil.copytree(directories[name if name in directories else "vocab.txt"], tmp_path / "tokenizer")
    if name in ("vocab.txt", "added_tokens.json"):
        (directory / "tokenizer.json").unlink()  # it makes these files unnecessary
    return directory


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", TOKENIZER_FILES)
def test_special_files_are_refused_by_name(name, kind, directories, tmp_path):
    directory = copied(directories, name, tmp_path)
    (directory / name).unlink(missing_ok=True)
    make, message = SPECIAL[kind]
    make(directory / name)
    with pytest.raises(ValueError, match=message) as caught:
        load_tokenizer(directory)
    assert str(directory / name) in str(caught.value)


@pytest.mark.parametrize("name", [name for name in TOKENIZER_FILES if name != "spiece.model"])
def test_byte_order_mark_is_named(name, directories, tmp_path):
    directory = copied(directories, name, tmp_path)
    (directory / name).write_bytes(b"\xef\xbb\xbf" + (directory / name).read_bytes())
    with pytest.raises(ValueError, match=rf"{name}.*byte order mark \(UTF-8\): save it as UTF-8 without one"):
        load_tokenizer(directory)
