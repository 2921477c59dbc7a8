import functools
import inspect
import json
import random
import subprocess
import sys

import pytest

from flax_lite.tokenization import TokenizerSpec, load_tokenizer, parse_tokenizer_spec, train_tokenizer

KINDS = ["unigram", "wordpiece"]


def ties() -> list[str]:
    """Returns text full of pieces with equal counts, where the order of a hash table could decide which are kept."""
    rng = random.Random(0)
    syllables = ["ba", "ko", "mi", "ru", "ta", "len", "sor", "vi", "pa", "dun"]
    names = ["".join(rng.sample(syllables, 3)).capitalize() for _ in range(150)]
    verbs = ["walks", "takes", "gives", "finds", "loses", "opens", "closes", "sees"]
    things = ["lamp", "key", "boat", "stone", "letter", "coin", "map", "rope"]
    return [
        f"{rng.choice(names)} {rng.choice(verbs)} the {rng.choice(things)}, and {rng.choice(names)} gives "
        f"{rng.randrange(100)} café-{rng.choice(things)}s."
        for _ in range(1500)
    ]


@functools.cache
def trained(kind):
    return train_tokenizer(ties(), kind, 220, accents="strip")


TRAIN_AND_SAVE = """
import sys
from flax_lite.tokenization import train_tokenizer
texts = open(sys.argv[1], encoding="utf-8").read().splitlines()
for kind in ("unigram", "wordpiece"):
    train_tokenizer(texts, kind, 220, accents="strip").save(f"{sys.argv[2]}/{kind}")
"""


@pytest.mark.compat
def test_trainings_of_three_processes_give_identical_files(tmp_path):
    """The hash tables of `tokenizers` are seeded once per process.

    On these texts, four trainings with the library's trainers alone gave four orders of ids, and for WordPiece three
    different sets of pieces.
    """
    (tmp_path / "texts").write_text("\n".join(ties()), encoding="utf-8")
    runs = [tmp_path / name for name in "abc"]
    for kind in KINDS:
        trained(kind).save(runs[0] / kind)
    for run in runs[1:]:
        subprocess.run([sys.executable, "-c", TRAIN_AND_SAVE, tmp_path / "texts", run], check=True)
    files = sorted(path.relative_to(runs[0]) for path in runs[0].glob("*/*"))
    assert len(files) == 7
    for file in files:
        first, *others = [(run / file).read_bytes() for run in runs]
        assert [other == first for other in others] == [True, True], file


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_the_texts_does_not_matter(kind):
    assert trained(kind).fingerprint == train_tokenizer(iter(ties()[::-1]), kind, 220, accents="strip").fingerprint


@pytest.mark.parametrize(
    ("kind", "specials"),
    [
        ("unigram", ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]),
        ("wordpiece", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]),
    ],
)
def test_special_tokens_have_ids_0_to_4(kind, specials):
    tokenizer = trained(kind)
    assert tokenizer.pieces[:5] == specials
    assert tokenizer.special_ids == (0, 1, 2, 3, 4)
    assert tokenizer.vocab_size == 220
    assert tokenizer.kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_trained_tokenizer_comes_back_with_its_fingerprint(kind, tmp_path):
    tokenizer = trained(kind)
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint
    tokenizer.save(tmp_path / "again")
    assert (tmp_path / "again" / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_text_gives_few_pieces(kind):
    tokenizer = train_tokenizer(["the cat sat", "the dog"], kind, 8000)
    assert tokenizer.vocab_size < 60
    assert tokenizer.unk_id not in tokenizer.encode(["the cat sat dog"])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_training_text_survives_encoding(kind):
    texts = ties()[:50]
    for text, ids in zip(texts, trained(kind).encode(texts), strict=True):
        assert trained(kind).decode(ids).replace(" - ", "-") == text.lower().replace("é", "e")


@pytest.mark.parametrize("kind", KINDS)
def test_frequent_words_become_pieces(kind):
    """Every frequent word is one piece."""
    prefix = "▁" if kind == "unigram" else ""
    assert {f"{prefix}the", f"{prefix}and", f"{prefix}cafe"} <= set(trained(kind).pieces)
    assert not any(piece != piece.lower() for piece in trained(kind).pieces[5:])


def test_unigram_pieces_never_join_letters_digits_and_punctuation():
    tokenizer = train_tokenizer([*ties(), "a-b a-b x1y x1y 1,000 1,000 don't don't (the) (the)"] * 3, "unigram", 8000)
    for piece in (piece.removeprefix("▁") for piece in tokenizer.pieces[5:]):
        assert piece.isalpha() or piece.isdecimal() or len(piece) <= 1, piece


def test_pieces_are_ordered_by_descending_score(tmp_path):
    trained("unigram").save(tmp_path)
    scores = [score for _, score in json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"][5:]]
    assert scores == sorted(scores, reverse=True)
    assert all(score < 0 for score in scores)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rarest_characters_get_no_piece(kind):
    """One character in 100,000 is not covered at a coverage of 0.99995; one in 10,000 is."""
    texts = ["abcde fghij"] * 9990 + ["abcde☂fghi", *["abcd☃ fghij"] * 10]
    tokenizer = train_tokenizer(texts, kind, 100)
    assert ("☂" in tokenizer.pieces, "☃" in tokenizer.pieces) == (False, True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_of_200_000_characters_is_ignored(kind):
    """The unigram trainer would abort the process on it."""
    gigantic = "".join(random.Random(0).choices("abcdef", k=200_000))
    assert "b" not in train_tokenizer(["the cat", gigantic], kind, 100).pieces


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], [""], [" \n", "\t"]])
def test_no_text_is_an_error(kind, texts):
    with pytest.raises(ValueError, match="no text to train a tokenizer on"):
        train_tokenizer(texts, kind, 100)


@pytest.mark.parametrize(("kind", "least"), [("unigram", 9), ("wordpiece", 11)])
def test_too_small_a_vocabulary_is_an_error(kind, least):
    texts = ["abc cba"] * 9  # unigram: a b c and the space; WordPiece: a b c ##a ##b ##c
    with pytest.raises(ValueError, match=f"vocab_size={least - 1} has no room.*at least {least}"):
        train_tokenizer(texts, kind, least - 1)
    assert train_tokenizer(texts, kind, least).vocab_size == least


def test_unknown_kind_is_an_error():
    unchecked = inspect.unwrap(train_tokenizer)  # without the type check of the test suite
    with pytest.raises(ValueError, match="unknown kind of tokenizer 'bpe'; expected one of unigram, wordpiece"):
        unchecked(["a"], "bpe", 100)


def test_specs_are_parsed():
    assert parse_tokenizer_spec("train:unigram:8000") == TokenizerSpec("unigram", 8000)
    assert parse_tokenizer_spec("train:wordpiece:512") == TokenizerSpec("wordpiece", 512)


@pytest.mark.parametrize(
    "spec", ["data/spiece.model", "albert/albert-base-v2", "C:/models", "train", "vocab.txt", "a:b:c"]
)
def test_sources_to_load_are_not_specs(spec):
    assert parse_tokenizer_spec(spec) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("train:", "asks for|has 1 parts"),
        ("train:unigram", "has 1 parts after 'train'; expected \"train:unigram:8000\""),
        ("train:unigram:8000:2", "has 3 parts"),
        ("train:unigam:8000", r"the kind 'unigam' \(did you mean 'unigram'\?\)"),
        ("train:bpe:8000", "the kind 'bpe'; expected"),
        ("train:unigram:8k", "asks for '8k' pieces"),
        ("train:unigram:-1", "asks for '-1' pieces"),
        ("train:unigram:0", "asks for '0' pieces"),
        ("train:unigram:²", "asks for '²' pieces"),
        ("trian:unigram:8000", "starts with 'trian'"),
        ("Train:unigram:8000", "starts with 'Train'"),
    ],
)
def test_misspelled_specs_are_errors(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_tokenizer_spec(spec)
