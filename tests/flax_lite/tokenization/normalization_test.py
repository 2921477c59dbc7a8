"""Case and accents of trained tokenizers: text of every script survives a round trip."""

import functools
import inspect
import json
import logging

import pytest

from flax_lite.tokenization import load_tokenizer, train_tokenizer

KINDS = ["unigram", "wordpiece"]
# Lower-case text of several scripts, each with marks or forms that stripping accents would change.
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
    "lower case, accents kept; dropping them would change 1.48% of the text "
    "(がっこうでべんきょうしましたがたのしかっ… to かっこうてへんきょうしましたかたのしかっ…)"
)


@functools.cache
def trained(kind, script):
    return train_tokenizer([WRITTEN[script]] * 40, kind, 200)


def spaceless(text):
    return "".join(text.split())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("script", WRITTEN)
def test_text_survives_a_round_trip(kind, script):
    """WordPiece splits punctuation and Chinese characters from adjacent text, and decodes them with spaces."""
    text, tokenizer = WRITTEN[script], trained(kind, script)
    ids = tokenizer.encode([text])[0]
    assert tokenizer.unk_id not in ids
    decoded = tokenizer.decode(ids)
    assert decoded == text if kind == "unigram" else spaceless(decoded) == spaceless(text)


@pytest.mark.compat
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("script", WRITTEN)
def test_saved_tokenizer_has_the_same_ids_here_and_in_transformers(kind, script, tmp_path):
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
def test_case_and_accents_are_kept_as_requested(kind, options, expected, tmp_path):
    """In English text with few accents "auto" strips them, as for the papers' vocabularies."""
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
    ("texts", "options", "expected"),
    [
        (ENGLISH, {}, "lower case, accents dropped (the text has none)"),
        (ENGLISH, {"accents": "keep", "case": "keep"}, "case kept, accents kept (the text has none)"),
        (
            [*ENGLISH, "café"],
            {},
            "lower case, accents dropped, which changes 0.13% of the text (café to cafe)",
        ),
        (
            ["aé ab", "aé cd", "bé ab"],
            {},
            "lower case, accents kept; dropping them would change 50.00% of the text (aé to ae)",
        ),
        (
            ["aé ab", "aé cd", "bé ab"],
            {"accents": "strip", "case": "keep"},
            "case kept, accents dropped, which changes 50.00% of the text (aé to ae)",
        ),
        # An example with letters is preferred to a more frequent one without.
        (
            [*ENGLISH * 9, "≠", "≠", "café"],
            {"accents": "strip"},
            "lower case, accents dropped, which changes 0.02% of the text (café to cafe)",
        ),
        # The share is of characters, because in scripts without spaces a "word" is a sentence.
        (
            [*ENGLISH, *["がっこうでべんきょうしましたがたのしかったです"] * 2],
            {},
            _JAPANESE,
        ),
    ],
)
def test_report_has_the_normalization_and_its_share_of_the_text(kind, texts, options, expected):
    reports = []
    train_tokenizer(texts, kind, 200, report=reports.append, **options)
    assert [str(report) for report in reports] == [expected]


@pytest.mark.parametrize(("kind", "change"), [("unigram", ""), ("wordpiece", "(می\u200cخواهم to میخواهم)")])
def test_joiners_that_bert_drops_are_reported(kind, change):
    """BERT removes zero-width joiners, which separate parts of Persian words, and join letters in Hindi and Sinhala."""
    reports = []
    texts = ["می\u200cخواهم بروم", "क्\u200dष"] * 10 + ["می\u200cخواهم"]
    tokenizer = train_tokenizer(texts, kind, 100, report=reports.append)
    assert ("control characters dropped" in str(reports[0])) == bool(change)
    assert change in str(reports[0])
    assert (tokenizer.decode(tokenizer.encode(texts[:1])[0]) == texts[0]) == (not change)


@pytest.mark.parametrize("texts", [ENGLISH, [*ENGLISH, "café"], [WRITTEN["hindi"]]])
def test_losses_by_default_are_logged(texts, caplog):
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
    unchecked = inspect.unwrap(train_tokenizer)  # without the type check of the test suite
    with pytest.raises(ValueError, match=message):
        unchecked(["a"], "unigram", 100, **options)


def test_frequent_words_are_whole_pieces_with_their_marks():
    """A word includes combining marks after its letters."""
    pieces = train_tokenizer([WRITTEN["hindi"]] * 40, "unigram", 200).pieces
    assert {"▁मैं", "▁में", "▁किताबें"} <= set(pieces)
