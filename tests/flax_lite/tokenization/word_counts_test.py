"""The counting of words behind a trained tokenizer: exact where there is room, bounded where there is not."""

import random
import subprocess
import sys
from collections import Counter

import pytest

from flax_lite.tokenization import train_tokenizer, word_counts
from flax_lite.tokenization.recipes import albert_normalizer, bert_normalizer
from flax_lite.tokenization.word_counts import count_words, cover_characters, occurrences, scale_down

KINDS = ["unigram", "wordpiece"]
ALBERT = albert_normalizer(lowercase=True, strip_accents=True)
BERT = bert_normalizer(lowercase=True, strip_accents=True, chinese_characters=True)


def frequent_and_rare() -> list[str]:
    """Sixty words that recur all the time, and 900 of the same characters that occur once, spread evenly."""
    rng = random.Random(0)
    frequent = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 7))) for _ in range(60)]
    once = iter({"".join(rng.choices("abcdefgh", k=8)) for _ in range(900)})
    return [" ".join([*rng.choices(frequent, k=40), word]) for word in sorted(once, key=hash)]


@pytest.fixture
def little_room(monkeypatch):
    def limit(**limits):
        for name, value in limits.items():
            monkeypatch.setattr(word_counts, name, value)

    return limit


@pytest.fixture
def sizes(monkeypatch):
    """How many words and characters the table holds after every word that is added to it."""
    seen = []

    class Watched(Counter):
        def __setitem__(self, word, count):
            super().__setitem__(word, count)
            seen.append((len(self), sum(map(len, self))))

    monkeypatch.setattr(word_counts, "Counter", Watched)
    return seen


@pytest.mark.parametrize("normalizer", [ALBERT, BERT], ids=KINDS)
def test_words_are_those_of_the_normalised_texts(normalizer, little_room):
    """However often the table of words before normalisation is emptied."""
    texts = ["Der Café\xa0¼ cafe\n", "漢字 and\u3000漢", "ﷺ a¨b x\U000f0000y", "", " "] * 3
    expected = Counter(word for text in texts for word in normalizer.normalize_str(text).split())
    del expected["x\U000f0000y"]
    expected += {"x": 3, "y": 3} if normalizer is ALBERT else {}
    assert count_words(iter(texts), normalizer) == expected
    little_room(_MOST_RAW_WORDS=2)
    assert count_words(iter(texts), normalizer) == expected
    little_room(_MOST_RAW_CHARACTERS=0)
    assert count_words(iter(texts), normalizer) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_table_drops_only_rare_words(kind, little_room):
    """The 60 frequent words keep their exact counts, so the pieces that their counts decide stay the same.

    All characters and pairs come from frequent words; the rare ones are at most 1 word in 41.
    """
    texts = frequent_and_rare()
    exact = count_words(texts, ALBERT)
    little_room(_MOST_WORDS=500, _MOST_RAW_WORDS=100)
    bounded = count_words(texts, ALBERT)
    frequent = {word: count for word, count in exact.items() if count > 1}
    assert len(exact) > 900
    assert len(bounded) <= 500
    assert {word: count for word, count in bounded.items() if count > 1} == frequent
    assert set(bounded) < set(exact)
    pruned = train_tokenizer(texts, kind, 110)
    without = train_tokenizer([text.rsplit(" ", 1)[0] for text in texts], kind, 110)
    print(sorted(set(pruned.pieces) ^ set(without.pieces)))
