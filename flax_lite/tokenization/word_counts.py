"""Counts the words of any amount of text in bounded memory, for the training of a tokenizer.

There are two tables: of what stands between spaces, which is normalized and cut into words once for every table full;
and of these words, whose rarest are dropped when there are too many. A word is what the learner joins no piece across:
letters without the punctuation around them, so that there are fewer of them (94,000 in 97 novels, where 328,000
different things stand between spaces).
"""

import itertools
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from tokenizers import normalizers

# What is learned from, and with it the learner's memory: for the whole training on 0.9 million words of 11 characters
# 1.2 GiB (WordPiece) and 1.0 GiB (unigram). English novels of 13 million words have 0.1 million different ones.
_MOST_WORDS = 2**20
_MOST_CHARACTERS = 2**25
# The table of what stands between spaces. Its characters are bounded for scripts without spaces, where that is a whole
# paragraph: at most 256 MiB, of four bytes each.
_MOST_RAW_WORDS = 2**20
_MOST_RAW_CHARACTERS = 2**26
# Google's vocabularies come from 10 million sentences (google-research/albert README, --input_sentence_size), which are
# about as many words; training takes as long as these do, however long the text.
_MOST_OCCURRENCES = 2**28
# google-research/albert README, the command that made the English vocabulary: --character_coverage=0.99995.
_CHARACTER_COVERAGE = 0.99995
# sentencepiece trainer_spec.max_sentence_length; the unigram trainer crashes on one word of 200,000 characters.
_MAX_WORD_CHARACTERS = 4192
# What the learner is given at once; the library keeps 256 of them.
_CHUNK_CHARACTERS = 2**16
# Between the words that the learner is given; normalizers leave none in a text.
SEPARATOR = "\n"
# The first supplementary private-use plane, for markers of words (training.py).
FIRST_MARKER, MARKERS = 0xF0000, 0xFFFE
PRIVATE_USE = f"[{chr(FIRST_MARKER)}-{chr(FIRST_MARKER + MARKERS - 1)}]"


Choose = Callable[[Mapping[str, int]], normalizers.Normalizer]


def count_words(
    texts: Iterable[str], normalizer: normalizers.Normalizer | Choose, cut: Callable[[str], Iterable[str]]
) -> Counter[str]:
    """The words of normalized texts with their counts; words no piece shall come from count as white space.

    Those are characters that mark words in training, and words too long for the trainer.

    Args:
        texts: read once; one is held at a time.
        normalizer: must do to a text what it does to the parts between its spaces. Or what chooses it by the counts of
            these parts: of the whole text, or of as much as one table holds.
        cut: a normalized text's words; likewise.

    Returns:
        All words, up to `_MOST_WORDS` of up to `_MOST_CHARACTERS` altogether. Where there are more, the rarest half
        is dropped whenever the table is full. A word is then counted too low by at most the sum of the highest counts
        dropped each time.
    """
    table = _BoundedTable()
    for raw in _raw_words(texts):
        if not isinstance(normalizer, normalizers.Normalizer):
            normalizer = normalizer(raw)
        table.add(raw, normalizer, cut)
    return table.counts


def _raw_words(texts: Iterable[str]) -> Iterator[Counter[str]]:
    """What stands between spaces, with its counts, a table full at a time; each is cleared when the next is wanted."""
    raw: Counter[str] = Counter()
    characters = 0
    for text in texts:
        raw.update(text.split())
        characters += len(text)
        if len(raw) > _MOST_RAW_WORDS or characters > _MOST_RAW_CHARACTERS:
            yield raw
            raw.clear()
            characters = 0
    yield raw


class _BoundedTable:
    """Counts of words, never more of them than the limits allow."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._characters = 0

    def add(
        self, raw: Mapping[str, int], normalizer: normalizers.Normalizer, cut: Callable[[str], Iterable[str]]
    ) -> None:
        unusable = re.compile(rf"{PRIVATE_USE}|\S{{{_MAX_WORD_CHARACTERS + 1},}}")
        for raw_word, count in raw.items():
            for word in cut(unusable.sub(" ", normalizer.normalize_str(raw_word))):
                if word not in self.counts:
                    self._make_room(len(word))
                    self._characters += len(word)
                self.counts[word] += count

    def _make_room(self, characters: int) -> None:
        while len(self.counts) >= _MOST_WORDS or self._characters + characters > _MOST_CHARACTERS:
            self.counts = _most_frequent(self.counts, len(self.counts) // 2)
            self._characters = sum(map(len, self.counts))


def _most_frequent(counts: Counter[str], most: int) -> Counter[str]:
    """`most` words. Of those equally frequent a hash chooses: an even sample of them, the same in every run."""
    words_with = Counter(counts.values())
    room = most
    for lowest in sorted(words_with, reverse=True):
        if words_with[lowest] > room:
            break
        room -= words_with[lowest]
    else:
        return counts
    last = sorted(_hash(word) for word, count in counts.items() if count == lowest)[room]
    return Counter(
        {word: count for word, count in counts.items() if count > lowest or (count == lowest and _hash(word) < last)}
    )


def _hash(word: str) -> int:
    return zlib.crc32(word.encode())


def scale_down(counts: Counter[str]) -> Counter[str]:
    """Counts in the same proportion that add up to `_MOST_OCCURRENCES` where they were more; below 1/2 is none."""
    total = counts.total()
    if total <= _MOST_OCCURRENCES:
        return counts
    scaled = {word: (2 * count * _MOST_OCCURRENCES + total) // (2 * total) for word, count in counts.items()}
    return Counter({word: count for word, count in scaled.items() if count})


def cover_characters(counts: Counter[str], space: str) -> tuple[Counter[str], set[str]]:
    """Words cut at their rarest characters, as if these were spaces; and the characters left.

    Args:
        counts: the words.
        space: what begins a word that follows a space, if anything does.

    Raises:
        ValueError: no words.
    """
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    del characters[space]
    if not characters:
        raise ValueError("there is no text to train a tokenizer on: every text is empty, or there is none")
    enough = _CHARACTER_COVERAGE * characters.total()
    by_count = sorted(characters, key=lambda character: (-characters[character], character))
    covered_before = itertools.accumulate((characters[character] for character in by_count), initial=0)
    rare = [character for character, before in zip(by_count, covered_before, strict=False) if before >= enough]
    table = str.maketrans(dict.fromkeys(rare, " "))
    covered: Counter[str] = Counter()
    for word, count in counts.items():
        first, *others = word.translate(table).split(" ")
        for part in filter(None, (first, *(space + other for other in others))):
            covered[part] += count
    return covered, set(characters) - set(rare)


def occurrences(counts: Mapping[str, int]) -> Iterator[str]:
    """Texts in which every word occurs as often as it was counted, with `SEPARATOR` behind it."""
    for word, count in counts.items():
        separated = word + SEPARATOR
        at_once = max(1, _CHUNK_CHARACTERS // len(separated))
        for done in range(0, count, at_once):
            yield separated * min(at_once, count - done)
