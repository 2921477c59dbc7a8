"""Saved directories, opened by Hugging Face's own classes: the same ids, token types and text."""

import pytest

from flax_lite.tokenization import load_tokenizer, train_tokenizer
from tests.flax_lite.tokenization import tiny_files

TEXTS = [
    "The cat's (1,050) café ``sat''.",
    "the [MASK] sat <unk>-cat <PAD> [SEP]",
    "  un-wanted,  日本 21,050 unwanted ",
    "",
]
TRAINING_TEXTS = ["the cat sat, unwanted", "the cat's hat", "1,050 cats (and a dog) sat"] * 3


def tiny_tokenizer(kind, directory):
    if kind == "spiece.model":
        return load_tokenizer(tiny_files.write_sentencepiece(directory))
    if kind == "vocab.txt":
        return load_tokenizer(tiny_files.write_vocab(directory))
    return train_tokenizer(TRAINING_TEXTS, kind, 80)


def check_same(tokenizer, other):
    ids = tokenizer.encode(TEXTS)
    assert [other(text, add_special_tokens=False)["input_ids"] for text in TEXTS] == ids
    assert len(other) == tokenizer.vocab_size
    specials = (other.pad_token_id, other.unk_token_id, other.cls_token_id, other.sep_token_id, other.mask_token_id)
    assert specials == tokenizer.special_ids
    pair = other(TEXTS[:2], TEXTS[2:], padding="max_length", max_length=64, truncation=True)
    rows = tokenizer(TEXTS[:2], TEXTS[2:], max_length=64)
    assert {name: pair[name] for name in rows} == {name: array.tolist() for name, array in rows.items()}
    if other.is_fast:  # the slow classes join words in a way of their own
        decoded = [other.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False) for row in ids]
        assert decoded == [tokenizer.decode(row) for row in ids]


@pytest.mark.parametrize("kind", ["spiece.model", "vocab.txt", "unigram", "wordpiece"])
def test_auto_tokenizer_gives_the_same_ids(kind, tmp_path):
    """Under whichever transformers is installed: the two supported lines are 4.57 and 5."""
    transformers = pytest.importorskip("transformers", minversion="4.57")
    tokenizer = tiny_tokenizer(kind, tmp_path)
    tokenizer.save(tmp_path / "saved")
    check_same(tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path / "saved"))


@pytest.mark.reference
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("spiece.model", "AlbertTokenizer"),
        ("spiece.model", "AlbertTokenizerFast"),
        ("vocab.txt", "BertTokenizer"),
        ("vocab.txt", "BertTokenizerFast"),
        ("unigram", "AlbertTokenizerFast"),
        ("wordpiece", "BertTokenizer"),
        ("wordpiece", "BertTokenizerFast"),
    ],
)
def test_the_classes_of_transformers_4_give_the_same_ids(kind, name, tmp_path):
    transformers = pytest.importorskip("transformers", minversion="4.57")
    if transformers.__version__.startswith("5."):
        pytest.skip("transformers 5 rebuilds the pipeline in classes of this name; AutoTokenizer is right there too")
    tokenizer = tiny_tokenizer(kind, tmp_path)
    tokenizer.save(tmp_path / "saved")
    check_same(tokenizer, getattr(transformers, name).from_pretrained(tmp_path / "saved"))


@pytest.mark.parametrize("name", ["albert", "bert-base-uncased"])
def test_auto_tokenizer_gives_the_same_ids_on_genuine_vocabularies(name, shared_data, tmp_path):
    transformers = pytest.importorskip("transformers", minversion="4.57")
    tokenizer = load_tokenizer(shared_data / "tokenizers" / name)
    tokenizer.save(tmp_path)
    check_same(tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path))
