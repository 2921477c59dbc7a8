"""Checks that the tokenizer of the rows has the vocabulary of each model and fits its embedding tables."""

import json

import pytest

from flax_lite.models.heads import MaskedLM
from flax_lite.tokenization import load_tokenizer
from tests.flax_lite import tiny
from train.data.tokenizers import requested_tokenizer
from train.data.vocabulary import check_tables, check_vocabularies, check_vocabulary
from train.errors import UserError

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write(folder, pieces, **settings):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*SPECIALS, *pieces]) + "\n")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(folder)


def log_nothing(line):
    raise AssertionError(line)


def checked(tmp_path, source, pieces, log=log_nothing, **settings):
    given = write(tmp_path / "given", pieces, **settings)
    check_vocabulary(f"init_from={source}", source, load_tokenizer(given), f"tokenizer={given}", log)


@pytest.mark.parametrize(
    ("pieces", "first"),
    [
        (["a", "c"], "7 pieces there, 7 here; first id 6: 'b', 'c'"),
        (["b", "a"], "first id 5: 'a', 'b'"),
        (["a", "b", "c"], "7 pieces there, 8 here)"),
        (["a"], "7 pieces there, 6 here)"),
    ],
)
def test_another_vocabulary_is_an_error_that_names_both(tmp_path, pieces, first):
    own = write(tmp_path / "own", ["a", "b"])
    with pytest.raises(UserError) as error:
        checked(tmp_path, own, pieces)
    message = str(error.value)
    assert f"init_from={own} has another vocabulary than tokenizer={tmp_path / 'given'}" in message
    assert first in message
    assert "--config.tokenizer=none" in message


def test_the_same_vocabulary_is_accepted_and_a_model_without_tokenizer_trusted(tmp_path):
    checked(tmp_path, write(tmp_path / "own", ["a", "b"]), ["a", "b"])
    (tmp_path / "bare").mkdir()
    checked(tmp_path, str(tmp_path / "bare"), ["a", "b"])
    tokenizer, spec = load_tokenizer(tmp_path / "own"), "tokenizer=train:wordpiece:7"
    with pytest.raises(UserError, match=f"bare has no tokenizer beside it, and {spec} trains one"):
        check_vocabulary("init_from=bare", str(tmp_path / "bare"), tokenizer, spec, log_nothing)


def test_the_same_pieces_with_another_normalization_are_logged(tmp_path):
    lines = []
    own = write(tmp_path / "own", ["i", "am", "it", "."])
    checked(tmp_path, own, ["i", "am", "it", "."], lines.append, do_lower_case=False)
    (line,) = lines
    assert line == (
        f"note: tokenizer={tmp_path / 'given'} has the vocabulary of init_from={own}, but tokenizes 'I am IT.' as "
        "'[UNK] am [UNK] .', not 'i am it .'"
    )


def test_an_unreadable_tokenizer_is_not_treated_as_missing(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "tokenizer.json").write_text("{}")
    tiny.make(MaskedLM, tiny.bert(vocab_size=7, num_hidden_layers=1)).save_pretrained(own)
    with pytest.raises(UserError, match=r"has a tokenizer that cannot be read .* it is unknown whether the ids of tok"):
        checked(tmp_path, str(own), ["a", "b"])


@pytest.mark.parametrize("source", ["/nowhere", "EMPTY.json"])
def test_a_source_that_is_not_a_model_is_reported_when_it_is_opened(tmp_path, source):
    (tmp_path / "EMPTY.json").write_text("{}")
    checked(tmp_path, source.replace("EMPTY", str(tmp_path / "EMPTY")), ["a", "b"])


TINY = tiny.bert(vocab_size=8, max_position_embeddings=16)  # and two token types


@pytest.mark.parametrize(
    ("config", "sizes", "message"),
    [
        (TINY, {"length": 16, "num_types": 2}, None),
        (TINY.replace(vocab_size=7), {"length": None}, None),
        (TINY.replace(vocab_size=6), {}, "teacher=X has 6 word embeddings, too few for a tokenizer of 7 pieces"),
        (TINY, {"length": 17}, "data.sequence_length=17 is longer than the 16 positions of teacher=X"),
        (TINY.replace(type_vocab_size=1), {"num_types": 1}, None),
        (TINY.replace(type_vocab_size=1), {"num_types": 2}, "teacher=X has an embedding for 1 token type only"),
        (tiny.distilbert(vocab_size=8), {"num_types": 2}, None),  # it has no token types
        (tiny.distilbert(vocab_size=3), {}, "3 word embeddings"),
        (tiny.albert(vocab_size=8, type_vocab_size=1), {"num_types": 2}, "type_vocab_size"),
        (tiny.albert(vocab_size=8), {"length": 512}, "512 is longer"),
    ],
)
def test_rows_stay_within_a_models_tables(tmp_path, config, sizes, message):
    tokenizer = load_tokenizer(write(tmp_path / "own", ["a", "b"]))
    if message is None:
        check_tables("teacher=X", config, tokenizer, **sizes)
        return
    with pytest.raises(UserError, match=message):
        check_tables("teacher=X", config, tokenizer, **sizes)


def options(**given):
    return {"tokenizer": None, "teacher": None, "init_from": None, **given}


def test_every_model_of_the_options_is_checked(tmp_path):
    """The model whose tokenizer is used is skipped, and so is a randomly initialized teacher."""
    mine, other = write(tmp_path / "mine", ["a"]), write(tmp_path / "other", ["b"])
    tokenizer = load_tokenizer(mine)
    check_vocabularies(options(teacher=mine, init_from=mine), tokenizer, f"teacher={mine}", log_nothing)
    check_vocabularies(options(teacher="random", init_from=mine), tokenizer, "tokenizer=X", log_nothing)
    for option in ("teacher", "init_from", "checkpoint"):
        with pytest.raises(UserError, match=f"{option}={other} has another vocabulary than tokenizer=X"):
            check_vocabularies(options(**{option: other}), tokenizer, "tokenizer=X", log_nothing)


def test_the_tokenizer_is_that_of_the_option_or_of_the_first_model_with_one(tmp_path):
    mine, other = write(tmp_path / "mine", ["a"]), write(tmp_path / "other", ["b"])
    (tmp_path / "bare").mkdir()
    bare = str(tmp_path / "bare")
    for given, name in (
        (options(tokenizer=mine, teacher=other), f"tokenizer={mine}"),
        (options(teacher=other, init_from=mine), f"teacher={other}"),
        (options(teacher=bare, init_from=mine), f"init_from={mine}"),
        (options(teacher="random", init_from=mine), f"init_from={mine}"),
    ):
        assert requested_tokenizer(given).name == name
    with pytest.raises(UserError, match=f"teacher={bare}: no tokenizer there. Give the tokenizer that the model was"):
        requested_tokenizer(options(teacher=bare))
    with pytest.raises(UserError, match="tokenizer is missing"):
        requested_tokenizer(options(teacher="random"))
