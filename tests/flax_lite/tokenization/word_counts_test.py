"""Counts words in bounded memory, and trains from the counts."""

import random
import subprocess
import sys
from collections import Counter

import pytest

from flax_lite.tokenization import train_tokenizer, training, word_counts
from flax_lite.tokenization.recipes import albert_normalizer, bert_normalizer
from flax_lite.tokenization.word_counts import count_words, cover_characters, occurrences, scale_down

UNIGRAM = albert_normalizer(lowercase=True, strip_accents=True)
WORDPIECE = bert_normalizer(lowercase=True, strip_accents=True, chinese_characters=True)


def zipf_texts(seed, words, length=20_000):
    """Returns texts of twenty words; word r occurs about length / r times, in random order."""
    rng = random.Random(seed)
    ranks = rng.choices(range(words), [1 / (rank + 1) for rank in range(words)], k=length)
    return [" ".join(f"w{rank}x" for rank in ranks[start : start + 20]) for start in range(0, length, 20)]


@pytest.mark.parametrize("normalizer", [UNIGRAM, WORDPIECE], ids=["unigram", "wordpiece"])
def test_words_are_those_of_normalized_texts(normalizer, monkeypatch):
    """Independent of how often the table of raw words is full.

    A character that normalizes to a space, and a word that is too long, separate words.
    """
    texts = [
        "The  Café,\tthe cafe ``x''",
        "\u00a0one\u2003two \u4e2d\u6587 x\u00a8y",
        "",
        "  ",
        "z" * 5000 + " The",
        "ﬁne",
    ]
    texts = [text + " and more" for text in texts] * 3
    long_word = "z" * 5000
    expected = Counter(
        word for text in texts for word in normalizer.normalize_str(text).replace(long_word, " ").split()
    )
    assert count_words(texts, normalizer, str.split) == expected
    monkeypatch.setattr(word_counts, "_MAX_RAW_WORDS", 3)
    assert count_words(iter(texts), normalizer, str.split) == expected


@pytest.mark.parametrize("limit", ["words", "characters"])
def test_table_keeps_its_limits_and_the_frequent_words(limit, monkeypatch):
    """The rarest words are dropped whenever the table is full.

    The bound of the docstring is checked with the dropped counts: no count is too low by more than the sum, over the
    drops, of the highest dropped count.
    """
    texts = zipf_texts(0, 5000)
    exact = Counter(word for text in texts for word in text.split())
    monkeypatch.setattr(word_counts, "_MAX_RAW_WORDS", 100)
    if limit == "words":
        monkeypatch.setattr(word_counts, "_MAX_WORDS", 1000)
    else:
        monkeypatch.setattr(word_counts, "_MAX_CHARACTERS", 5000)
    drops, sizes = [], []
    most_frequent = word_counts._most_frequent

    def watched(counts, most):
        sizes.append((len(counts), sum(map(len, counts))))
        kept = most_frequent(counts, most)
        drops.append(max(counts[word] for word in counts.keys() - kept.keys()))
        assert len(kept) == most
        return kept

    monkeypatch.setattr(word_counts, "_most_frequent", watched)
    counts = count_words(texts, UNIGRAM, str.split)
    assert len(drops) >= 2
    assert all(words <= 1000 if limit == "words" else characters <= 5000 for words, characters in sizes)
    bound = sum(drops)
    assert bound < 100
    for word, count in exact.items():
        assert count - bound <= counts[word] <= count
    assert counts == count_words(texts, UNIGRAM, str.split)


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
@pytest.mark.parametrize(
    ("every", "most_words", "vocab_size"),
    # Complete novels take four times as long, with the same result.
    [(8, 4600, 250), pytest.param(1, 10_000, 1000, marks=pytest.mark.slow)],
)
def test_dropping_rare_words_changes_little(kind, every, most_words, vocab_size, shared_data, monkeypatch):
    """With a table for two thirds of the words of two novels, other novels need a few percent more pieces."""
    novels = shared_data / "pretrain" / "novels"
    texts, others = (
        [line for path in sorted(novels.glob(pattern)) for line in path.read_text().splitlines()][::every]
        for pattern in ("Eliot_[AF]*.txt", "Forster*.txt")
    )
    whole = train_tokenizer(texts, kind, vocab_size)
    monkeypatch.setattr(word_counts, "_MAX_RAW_WORDS", 1000)
    monkeypatch.setattr(word_counts, "_MAX_WORDS", most_words)
    bounded = train_tokenizer(texts, kind, vocab_size)
    assert bounded.fingerprint != whole.fingerprint
    sizes = [sum(map(len, tokenizer.encode(others))) for tokenizer in (whole, bounded)]
    assert sizes[1] < 1.05 * sizes[0]


def test_scale_down_keeps_proportions(monkeypatch):
    counts = Counter({"a": 4000, "b": 401, "c": 99, "d": 10, "e": 1})
    assert scale_down(counts) == counts
    monkeypatch.setattr(word_counts, "_MAX_OCCURRENCES", 451)  # a tenth
    assert scale_down(counts) == {"a": 400, "b": 40, "c": 10, "d": 1}


@pytest.mark.parametrize(("kind", "words"), [("unigram", 18_000), ("wordpiece", 6_000)])
def test_training_is_the_same_on_a_text_repeated_beyond_the_limit(kind, words, monkeypatch):
    """Counts times three, scaled down to a third, are the counts.

    Unigram has three times as many words as WordPiece, because it splits letters from digits.
    """
    texts = zipf_texts(2, 300, length=6000)
    expected = train_tokenizer(texts, kind, 200).fingerprint
    monkeypatch.setattr(word_counts, "_MAX_OCCURRENCES", words)
    assert train_tokenizer(texts * 3, kind, 200).fingerprint == expected


def test_occurrences_reproduce_the_counts_in_small_texts(monkeypatch):
    counts = Counter({"one": 7, "twenty": 1, "x" * 50: 3})
    assert Counter(word for text in occurrences(counts) for word in text.split()) == counts
    monkeypatch.setattr(word_counts, "_CHUNK_CHARACTERS", 20)
    texts = list(occurrences(counts))
    assert Counter(word for text in texts for word in text.split()) == counts
    assert max(map(len, texts)) <= 51


def test_words_are_counted_without_the_punctuation_around_them(monkeypatch):
    """Every word is one entry of the table, instead of one for each adjacent punctuation mark."""
    seen = []
    count_words_ = training.count_words
    monkeypatch.setattr(training, "count_words", lambda *args: seen.append(count_words_(*args)) or seen[-1])
    for kind in ("unigram", "wordpiece"):
        train_tokenizer(['So, so! "So" (so)', "so so 12 a1b"], kind, 60)
    assert seen[0]["\u2581so"] == 4
    assert seen[0]["so"] == 2
    assert seen[0]["\u258112"] == 1
    assert {"\u2581a", "1", "b", ",", "!"} <= seen[0].keys()
    assert seen[1]["so"] == 6


def test_rarest_characters_separate_words(monkeypatch):
    monkeypatch.setattr(word_counts, "_CHARACTER_COVERAGE", 0.9)
    counts = Counter({"aab": 30, "aqa": 1, "ba": 5, "q": 1})
    assert cover_characters(counts, "") == ({"aab": 30, "a": 2, "ba": 5}, {"a", "b"})
    prefixed = Counter({"_aab": 30, "_aqa": 1, "_ba": 5})
    assert cover_characters(prefixed, "_") == ({"_aab": 30, "_a": 2, "_ba": 5}, {"a", "b"})
    with pytest.raises(ValueError, match="no text"):
        cover_characters(Counter({"_": 3}), "_")


_TRAIN = """
import random, re, sys
from flax_lite.tokenization import train_tokenizer

def texts(count):
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnop", k=8)) for _ in range(5000)]
    for _ in range(count):
        yield " ".join(rng.choices(words, k=100))

for count in (2_000, 20_000):
    train_tokenizer(texts(count), sys.argv[1], 500)
    print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)
"""


# One kind by default: both use the same functions to count words and to feed the trainer.
@pytest.mark.parametrize("kind", [pytest.param("unigram", marks=pytest.mark.slow), "wordpiece"])
def test_memory_does_not_grow_with_the_text(kind, repository):
    """Peak memory on 2 MB and then 18 MB of the same words.

    15 MB are allowed for the buffers of the trainer's threads; keeping the texts in memory would take at least 20 MB.
    """
    command = [sys.executable, "-c", _TRAIN, kind]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    peaks = [float(line) for line in done.stdout.splitlines()]
    assert peaks[0] <= peaks[1] < peaks[0] + 15, peaks
