"""Counts the words of any amount of text in bounded memory, to train a tokenizer.

The trainers of the `tokenizers` library count words too, but keep all of them in memory.

There are two tables. The first counts strings between white space; whenever it is full, they are normalized and split
into words. The second counts these words, and drops the rarest when it is full. A word is a string across whose ends no
piece is formed: letters without adjacent punctuation. There are fewer words than strings between white space (94,000
instead of 328,000 in 97 novels).
"""

import itertools
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from tokenizers import normalizers

# Limits of the table of words, and so of the trainer's memory: training on 0.9 million words of 11 characters takes 1.2
# GiB (WordPiece) or 1.0 GiB (unigram). English novels with 13 million words have 0.1 million distinct ones.
_MAX_WORDS = 2**20
_MAX_CHARACTERS = 2**25
# Limits of the table of strings between white space. In scripts without spaces such a string is a whole paragraph, so
# characters are limited too: at most 256 MiB, at four bytes each.
_MAX_RAW_WORDS = 2**20
_MAX_RAW_CHARACTERS = 2**26
# Google trained on 10 million sentences (google-research/albert README, --input_sentence_size), which have about this
# many words. It bounds the training time for any length of text.
_MAX_OCCURRENCES = 2**28
# --character_coverage=0.99995 in the command for the English vocabulary, google-research/albert README.
_CHARACTER_COVERAGE = 0.99995
# trainer_spec.max_sentence_length of sentencepiece; the unigram trainer crashes on a word of 200,000 characters.
_MAX_WORD_CHARACTERS = 4192
# Characters passed to the trainer at once; the library buffers 256 such chunks.
_CHUNK_CHARACTERS = 2**16
# Separates words passed to the trainer; normalized text does not contain it.
SEPARATOR = "\n"
# The first supplementary private-use plane, for the word markers in training.py.
FIRST_MARKER, MARKERS = 0xF0000, 0xFFFE
PRIVATE_USE = f"[{chr(FIRST_MARKER)}-{chr(FIRST_MARKER + MARKERS - 1)}]"
# Chooses a normalizer by the counts of the strings between white space.
Choose = Callable[[Mapping[str, int]], normalizers.Normalizer]


def count_words(
    texts: Iterable[str], normalizer: normalizers.Normalizer | Choose, split: Callable[[str], Iterable[str]]
) -> Counter[str]:
    """Returns the words of normalized texts with their counts.

    Characters that mark words in training, and words too long for the trainer, count as white space.

    Args:
        texts: read once, one at a time.
        normalizer: a normalizer, or a function that chooses one by the counts of the strings between white space: of
            the whole text, or of as much as fits the first table. Normalizing a text must equal normalizing the strings
            between its white space.
        split: returns the words of a normalized text, which must likewise not depend on adjacent strings.

    Returns:
        The words, at most `_MAX_WORDS` with at most `_MAX_CHARACTERS` characters in total. If there are more, the
        rarest half is dropped whenever the table is full; the count of a word is then too low by at most the sum, over
        these times, of the highest count dropped.
    """
    table = _BoundedTable()
    for raw in _raw_words(texts):
        if not isinstance(normalizer, normalizers.Normalizer):
            normalizer = normalizer(raw)
        table.add(raw, normalizer, split)
    return table.counts


def _raw_words(texts: Iterable[str]) -> Iterator[Counter[str]]:
    """Yields the strings between white space with their counts, one full table at a time.

    The table is cleared when the next one is requested.
    """
    raw: Counter[str] = Counter()
    characters = 0
    for text in texts:
        raw.update(text.split())
        characters += len(text)
        if len(raw) > _MAX_RAW_WORDS or characters > _MAX_RAW_CHARACTERS:
            yield raw
            raw.clear()
            characters = 0
    yield raw


class _BoundedTable:
    """Counts of words, within the limits of `_MAX_WORDS` and `_MAX_CHARACTERS`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._characters = 0

    def add(
        self, raw: Mapping[str, int], normalizer: normalizers.Normalizer, split: Callable[[str], Iterable[str]]
    ) -> None:
        unusable = re.compile(rf"{PRIVATE_USE}|\S{{{_MAX_WORD_CHARACTERS + 1},}}")
        for raw_word, count in raw.items():
            for word in split(unusable.sub(" ", normalizer.normalize_str(raw_word))):
                if word not in self.counts:
                    self._make_room(len(word))
                    self._characters += len(word)
                self.counts[word] += count

    def _make_room(self, characters: int) -> None:
        while len(self.counts) >= _MAX_WORDS or self._characters + characters > _MAX_CHARACTERS:
            self.counts = _most_frequent(self.counts, len(self.counts) // 2)
            self._characters = sum(map(len, self.counts))


def _most_frequent(counts: Counter[str], most: int) -> Counter[str]:
    """Returns the `most` most frequent words.

    Ties are broken by a hash: an unbiased sample, the same in every run.
    """
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
    """Scales counts down to at most `_MAX_OCCURRENCES` in total; counts that round to 0 are dropped."""
    total = counts.total()
    if total <= _MAX_OCCURRENCES:
        return counts
    scaled = {word: (2 * count * _MAX_OCCURRENCES + total) // (2 * total) for word, count in counts.items()}
    return Counter({word: count for word, count in scaled.items() if count})


def cover_characters(counts: Counter[str], space: str) -> tuple[Counter[str], set[str]]:
    """Splits words at their rarest characters, as if these were white space.

    Args:
        counts: words with counts.
        space: the prefix of words that follow a space; may be empty.

    Returns:
        The resulting words with their counts, and the remaining characters without `space`.

    Raises:
        ValueError: if there are no words.
    """
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    del characters[space]
    if not characters:
        raise ValueError("there is no text to train a tokenizer on: there are no texts, or all of them are empty")
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
    """Yields texts that contain every word as often as it was counted, each followed by `SEPARATOR`."""
    for word, count in counts.items():
        separated = word + SEPARATOR
        per_chunk = max(1, _CHUNK_CHARACTERS // len(separated))
        for done in range(0, count, per_chunk):
            yield separated * min(per_chunk, count - done)
