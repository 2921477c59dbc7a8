"""The tokenizer of a job: its request, its cache, and the copy of the work directory that a resumed run uses."""

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
    lines = []
    corpus = Corpus("a corpus", {"texts": texts}, (), lambda: iter([texts]))
    tokenizer = open_tokenizer(wanted(**given), corpus, tmp_path / kept, cache_dir=tmp_path / "cache", log=lines.append)
    return tokenizer, lines


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
def test_training_options_are_an_error_for_a_loaded_tokenizer(given, tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    with pytest.raises(UserError, match=r"applies only to a tokenizer that is trained .* Remove the option"):
        wanted(tokenizer=str(tmp_path), **given)


def test_tokenizers_of_different_normalization_are_cached_separately(tmp_path):
    ways = [{}, {"tokenizer_accents": "strip"}, {"tokenizer_case": "keep"}, {"tokenizer_accents": "keep"}]
    assert [cut(opened(tmp_path, **way)[0]) for way in ways] == ["très", "tres", "Très", "très"]
    kept = [path for path in (tmp_path / "cache" / "tokenizers").iterdir() if path.is_dir()]
    assert len(kept) == 4


@pytest.mark.parametrize(("texts", "again"), [(FRENCH, True), (["the cat sat"] * 5, False)])
def test_normalization_is_logged_again_for_a_cached_tokenizer(tmp_path, texts, again):
    _, first = opened(tmp_path, texts)
    _, second = opened(tmp_path, texts)
    assert first[0].startswith("Training a wordpiece tokenizer of 100 pieces on a corpus")
    assert first[1].startswith("tokenizer: lower case, accents ")
    assert "tokenizer_case and tokenizer_accents choose" in first[1]
    assert second == (first[1:] if again else [])


def test_a_resumed_run_uses_the_tokenizer_of_its_work_directory(tmp_path):
    """Also a work directory from before these options existed; only an option that is set now is a difference."""
    former, _ = opened(tmp_path, tokenizer_accents="strip")
    save_tokenizer(former, tmp_path / "work")
    tokenizer, lines = opened(tmp_path, kept="work")
    assert (tokenizer.fingerprint, lines) == (former.fingerprint, [])
    assert load_tokenizer(tmp_path / "work").fingerprint == former.fingerprint
    now = {option.path: None for option in PRETRAIN_OPTIONS if option.implied} | {"tokenizer": SPEC}
    asked = now | {"tokenizer_accents": "keep"}
    assert schema.differences(PRETRAIN_OPTIONS, {"tokenizer": SPEC}, now) == {}
    assert schema.differences(PRETRAIN_OPTIONS, {"tokenizer": SPEC}, asked) == {"tokenizer_accents": (None, "keep")}
    assert schema.differences(PRETRAIN_OPTIONS, asked, now) == {"tokenizer_accents": ("keep", None)}
