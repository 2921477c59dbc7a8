"""A job's tokenizer: how it is asked for, where it is kept, and that a work directory goes on with its own."""

import pytest

from flax_lite.tokenization import TokenizerSpec, load_tokenizer
from train.data.sources import Corpus
from train.data.tokenizers import open_tokenizer, requested_tokenizer, save_tokenizer
from train.errors import UserError
from train.options import schema
from train.options.tables import PRETRAIN_OPTIONS

SPEC = "train:wordpiece:100"
FRENCH = ["le café est Très agréable", "l'été à la forêt"] * 5


def wanted(**given):
    return requested_tokenizer({"tokenizer": SPEC, "init_from": None, **given})


def opened(tmp_path, texts=FRENCH, kept="nowhere", **given):
    said = []
    corpus = Corpus("a corpus", {"texts": texts}, (), lambda: iter([texts]))
    tokenizer = open_tokenizer(wanted(**given), corpus, tmp_path / kept, cache_dir=tmp_path / "cache", log=said.append)
    return tokenizer, said


def cut(tokenizer, text="Très"):
    return tokenizer.decode(tokenizer.encode([text])[0]).replace(" ", "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, TokenizerSpec("wordpiece", 100)),
        ({"tokenizer_case": None, "tokenizer_accents": None}, TokenizerSpec("wordpiece", 100, "lower", "auto")),
        ({"tokenizer_case": "keep"}, TokenizerSpec("wordpiece", 100, "keep", "auto")),
        ({"tokenizer_accents": "strip"}, TokenizerSpec("wordpiece", 100, "lower", "strip")),
    ],
)
def test_case_and_accents_are_part_of_the_request(given, expected):
    assert wanted(**given).training == expected


@pytest.mark.parametrize("given", [{"tokenizer_case": "keep"}, {"tokenizer_accents": "auto"}])
def test_options_of_a_training_are_refused_without_one(given, tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    with pytest.raises(UserError, match=r"is for tokenizers that are trained .* leave it out"):
        wanted(tokenizer=str(tmp_path), **given)


def test_each_way_to_read_a_text_has_a_tokenizer_of_its_own_in_the_cache(tmp_path):
    ways = [{}, {"tokenizer_accents": "strip"}, {"tokenizer_case": "keep"}, {"tokenizer_accents": "keep"}]
    assert [cut(opened(tmp_path, **way)[0]) for way in ways] == ["très", "tres", "Très", "très"]
    kept = [path for path in (tmp_path / "cache" / "tokenizers").iterdir() if path.is_dir()]
    assert len(kept) == 4


@pytest.mark.parametrize(("texts", "again"), [(FRENCH, True), (["the cat sat"] * 5, False)])
def test_what_is_done_to_a_text_is_said_again_when_it_comes_from_the_cache(tmp_path, texts, again):
    _, first = opened(tmp_path, texts)
    _, second = opened(tmp_path, texts)
    assert first[0].startswith("Training a wordpiece tokenizer of 100 pieces on a corpus")
    assert first[1].startswith("tokenizer: lower case, accents ")
    assert "tokenizer_case and tokenizer_accents choose" in first[1]
    assert second == (first[1:] if again else [])


def test_a_work_directory_goes_on_with_the_tokenizer_that_it_keeps(tmp_path):
    """One of a time before the options too: they are nothing there, and what is asked for now is refused by name."""
    former, _ = opened(tmp_path, tokenizer_accents="strip")
    save_tokenizer(former, tmp_path / "work")
    tokenizer, said = opened(tmp_path, kept="work")
    assert (tokenizer.fingerprint, said) == (former.fingerprint, [])
    assert load_tokenizer(tmp_path / "work").fingerprint == former.fingerprint
    now = {leaf.path: None for leaf in PRETRAIN_OPTIONS if leaf.implied} | {"tokenizer": SPEC}
    asked = now | {"tokenizer_accents": "keep"}
    assert schema.differences(PRETRAIN_OPTIONS, {"tokenizer": SPEC}, now) == {}
    assert schema.differences(PRETRAIN_OPTIONS, {"tokenizer": SPEC}, asked) == {"tokenizer_accents": (None, "keep")}
    assert schema.differences(PRETRAIN_OPTIONS, asked, now) == {"tokenizer_accents": ("keep", None)}
