"""Tests of the resolution of SOURCE names."""

import pytest

import flax_lite as fl
from flax_lite.checkpoints.sources.resolve import open_source, sentence_transformers_layout, tokenizer_directory
from tests.flax_lite.pipelines import cases

READERS = {
    "open_source": lambda source: open_source(source).config.labels == ("a", "b"),
    "tokenizer_directory": lambda source: tokenizer_directory(source).is_dir(),
    "sentence_transformers_layout": lambda source: sentence_transformers_layout(source) is None,
    "load_tokenizer": lambda source: fl.load_tokenizer(source).vocab_size > 0,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    cases.saved(home / "model", "text-classification", labels=("a", "b"))
    return home


@pytest.mark.parametrize("read", READERS)
def test_home_directory_is_expanded_when_reading(monkeypatch, home, read):
    monkeypatch.setenv("HOME", str(home))
    assert READERS[read]("~/model")


def test_home_directory_is_expanded_when_saving(monkeypatch, home):
    monkeypatch.setenv("HOME", str(home))
    fl.SequenceClassification.from_pretrained("~/model").save_pretrained("~/copy")
    assert (home / "copy" / "config.json").is_file()
