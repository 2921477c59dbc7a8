"""What a trained tokenizer does to case and accents: text of every script comes back as it was written."""

import functools
import inspect
import json
import logging

import pytest

from flax_lite.tokenization import load_tokenizer, train_tokenizer

KINDS = ["unigram", "wordpiece"]
# In lower case where the script has one, each with marks or forms that dropping accents would change.
WRITTEN = {
    "japanese": "がっこうで ぱんを たべました。ポケット",
    "hindi": "मैं स्कूल में पढ़ता हूँ और किताबें भी पढ़ूँगा",
    "thai": "น้ำร้อนมาก ผู้ใหญ่ไม่อยู่ที่นี่",
    "vietnamese": "nước mắm ở đây rất ngon, đường phố đông người",
    "korean": "학교에서 한국어를 배웠습니다",
    "arabic": "أُحِبُّ القِراءةَ في المَدرسةِ آخر مسؤول",
    "hebrew": "שָׁלוֹם עֲלֵיכֶם יְרוּשָׁלַיִם",
    "chinese": "我们在学校学习，很高兴！",
    "russian": "мой ёж ещё съел йогурт",
    "german": "über die grüße fährt der bär",
    "greek": "η ελληνική γλώσσα είναι ωραία",
    "bengali": "আমি স্কুলে পড়ি এবং বাংলায় লিখি",
    "tamil": "நான் பள்ளியில் படிக்கிறேன்",
    "polish": "zażółć gęślą jaźń",
    "turkish": "ışık çok güzel değil mi",
    "persian": "آب گرم است و مدرسه بسته",
}
ENGLISH = ["the quick brown fox jumps over the lazy dog and runs away again"] * 60

_JAPANESE = (
    "lower case, accents kept: to drop them would change 1.48% of the text "
    "(がっこうでべんきょうしましたがたのしかっ… to かっこうてへんきょうしましたかたのしかっ…)"
)


@functools.cache
def trained(kind, script):
    return train_tokenizer([WRITTEN[script]] * 40, kind, 200)


def spaceless(text):
    return "".join(text.split())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("script", WRITTEN)
def test_text_comes_back_as_it_was_written(kind, script):
    """WordPiece parts punctuation and Chinese characters from their neighbors: it gives them back with spaces."""
    text, tokenizer = WRITTEN[script], trained(kind, script)
    ids = tokenizer.encode([text])[0]
    assert tokenizer.unk_id not in ids
    decoded = tokenizer.decode(ids)
    assert decoded == text if kind == "unigram" else spaceless(decoded) == spaceless(text)


@pytest.mark.compat
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("script", WRITTEN)
def test_saved_it_gives_the_same_ids_here_and_in_transformers(kind, script, tmp_path):
    transformers = pytest.importorskip("transformers", minversion="4.57")
    texts, tokenizer = [WRITTEN[script], WRITTEN[script].upper(), "Déjà vu"], trained(kind, script)
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).encode(texts) == tokenizer.encode(texts)
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert [other(text, add_special_tokens=False)["input_ids"] for text in texts] == tokenizer.encode(texts)


@pytest.mark.compat
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "cafe uber zurich"),
        ({"accents": "keep"}, "café über zürich"),
        ({"case": "keep", "accents": "strip"}, "Cafe Uber Zurich"),
        ({"case": "keep", "accents": "keep"}, "Café Über Zürich"),
        ({"case": "lower", "accents": "strip"}, "cafe uber zurich"),
    ],
)
def test_case_and_accents_are_kept_as_asked(kind, options, expected, tmp_path):
    """In English with few accents "auto" drops them, as the papers' vocabularies do."""
    texts = [*ENGLISH * 3, *["Café Über Zürich"] * 2]
    tokenizer = train_tokenizer(texts, kind, 250, **options)
    tokenizer.save(tmp_path)
    other = pytest.importorskip("transformers", minversion="4.57").AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.encode(["Café Über Zürich"])[0]
    assert tokenizer.decode(ids) == expected
    assert other("Café Über Zürich", add_special_tokens=False)["input_ids"] == ids
    assert load_tokenizer(tmp_path).encode(["Café Über Zürich"]) == [ids]
    if kind == "wordpiece":  # read from vocab.txt and tokenizer_config.json, as older tools do
        (tmp_path / "tokenizer.json").unlink()
        assert load_tokenizer(tmp_path / "vocab.txt").encode(["Café Über Zürich"]) == [ids]
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert saved["do_lower_case"] == (options.get("case") != "keep")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        (ENGLISH, {}, "lower case, accents dropped, of which the text has none"),
        (ENGLISH, {"accents": "keep", "case": "keep"}, "case kept, accents kept, of which the text has none"),
        (
            [*ENGLISH, "café"],
            {},
            "lower case, accents dropped, which changes 0.13% of the text (café to cafe)",
        ),
        (
            ["aé ab", "aé cd", "bé ab"],
            {},
            "lower case, accents kept: to drop them would change 50.00% of the text (aé to ae)",
        ),
        (
            ["aé ab", "aé cd", "bé ab"],
            {"accents": "strip", "case": "keep"},
            "case kept, accents dropped, which changes 50.00% of the text (aé to ae)",
        ),
        # An example with letters is taken before a more frequent one without.
        (
            [*ENGLISH * 9, "≠", "≠", "café"],
            {"accents": "strip"},
            "lower case, accents dropped, which changes 0.02% of the text (café to cafe)",
        ),
        # By characters, as a script without spaces has a sentence where another has a word.
        (
            [*ENGLISH, *["がっこうでべんきょうしましたがたのしかったです"] * 2],
            {},
            _JAPANESE,
        ),
    ],
)
def test_what_is_done_is_said_with_its_share_of_the_text(kind, texts, options, said):
    found = []
    train_tokenizer(texts, kind, 200, report=found.append, **options)
    assert [str(each) for each in found] == [said]


@pytest.mark.parametrize(("kind", "said"), [("unigram", ""), ("wordpiece", "(می\u200cخواهم to میخواهم)")])
def test_joiners_that_bert_drops_are_said(kind, said):
    """BERT's cleaning takes what Persian parts words with, and Hindi and Sinhala join letters with."""
    found = []
    texts = ["می\u200cخواهم بروم", "क्\u200dष"] * 10 + ["می\u200cخواهم"]
    tokenizer = train_tokenizer(texts, kind, 100, report=found.append)
    assert ("control characters dropped" in str(found[0])) == bool(said)
    assert said in str(found[0])
    assert (tokenizer.decode(tokenizer.encode(texts[:1])[0]) == texts[0]) == (not said)


@pytest.mark.parametrize("texts", [ENGLISH, [*ENGLISH, "café"], [WRITTEN["hindi"]]])
def test_what_a_default_drops_is_never_silent(texts, caplog):
    with caplog.at_level(logging.WARNING):
        train_tokenizer(texts, "wordpiece", 200)
    assert ("(café to cafe)" in caplog.text) == ("café" in texts)
    assert bool(caplog.records) == ("café" in texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"case": "upper"}, "case='upper'; expected one of lower, keep"),
        ({"accents": "none"}, "accents='none'; expected one of auto, strip, keep"),
    ],
)
def test_unknown_choices_are_errors(options, message):
    unchecked = inspect.unwrap(train_tokenizer)  # the suite checks the types of arguments, a user's program does not
    with pytest.raises(ValueError, match=message):
        unchecked(["a"], "unigram", 100, **options)


def test_frequent_words_are_whole_pieces_with_their_marks():
    """Letters with marks of their own begin words too."""
    pieces = train_tokenizer([WRITTEN["hindi"]] * 40, "unigram", 200).pieces
    assert {"▁मैं", "▁में", "▁किताबें"} <= set(pieces)
