"""Chooses whether a new tokenizer lower-cases text and strips accents: as requested, or by their effect on the text."""

import dataclasses
import unicodedata
from collections.abc import Callable, Mapping
from typing import Literal

from tokenizers import normalizers

Case = Literal["lower", "keep"]
Accents = Literal["auto", "strip", "keep"]
# Measured share of characters in words that change: 0.03% in 97 English novels, 0.13% in 1,800 paragraphs of Wikipedia.
# The limit is eight times the larger one. In scripts whose letters contain marks (Vietnamese, Hindi, Thai, kana,
# Hangul, й) the share is most of the text.
AUTO_SHARE = 0.01
_MAX_SHOWN = 20  # characters of an example; in scripts without spaces, a "word" is a sentence


@dataclasses.dataclass(frozen=True)
class Change:
    """The effect of one normalization step on a text.

    Attributes:
        share: share of the text's characters that are in changed words.
        example: the most frequent changed word, preferably one with letters, before and after the step.
    """

    share: float
    example: tuple[str, str]

    def __str__(self) -> str:
        before, after = (word if len(word) <= _MAX_SHOWN else f"{word[:_MAX_SHOWN]}…" for word in self.example)
        return f"{self.share:.2%} of the text ({before} to {after})"


@dataclasses.dataclass(frozen=True)
class Normalization:
    """How text is normalized before it is split into pieces.

    Attributes:
        lowercase: whether text is lower-cased.
        strip_accents: whether accents and other combining marks are removed.
        accents: the effect that removing accents has or would have; None if the text has none.
        controls: the effect of removing control characters, including zero-width joiners (U+200C, U+200D); None if none
            is removed.
    """

    lowercase: bool
    strip_accents: bool
    accents: Change | None
    controls: Change | None = None

    @property
    def is_lossy(self) -> bool:
        """Whether normalization removes anything other than case."""
        return self.controls is not None or (self.strip_accents and self.accents is not None)

    def __str__(self) -> str:
        case = "lower case" if self.lowercase else "case kept"
        fate = "dropped" if self.strip_accents else "kept"
        if self.accents is None:
            accents = f"accents {fate} (the text has none)"
        elif self.strip_accents:
            accents = f"accents dropped, which changes {self.accents}"
        else:
            accents = f"accents kept; dropping them would change {self.accents}"
        controls = f"; control characters dropped, which changes {self.controls}" if self.controls else ""
        return f"{case}, {accents}{controls}"


class _ChangedWords:
    """Counts the characters of changed words, and keeps the best example."""

    def __init__(self) -> None:
        self.characters = 0
        self.best: tuple[bool, int, str] | None = None

    def add(self, word: str, count: int) -> None:
        self.characters += count * len(word)
        rank = (not any(map(str.isalpha, word)), -count, word)
        self.best = min(self.best or rank, rank)

    def change(self, total: int, normalizer: normalizers.Normalizer) -> Change | None:
        if self.best is None:
            return None
        word = self.best[2]
        return Change(self.characters / total, (word, normalizer.normalize_str(word)))


def choose_normalization(
    words: Mapping[str, int], make: Callable[[bool, bool], normalizers.Normalizer], case: Case, accents: Accents
) -> Normalization:
    """Chooses the normalization of a text from its words.

    Args:
        words: the text split at white space, with counts.
        make: function of (lowercase, strip_accents) that returns a normalizer.
        case: "lower" or "keep".
        accents: "strip", "keep", or "auto": strip where that changes at most `AUTO_SHARE` of the text.

    Raises:
        ValueError: if `case` or `accents` is another value.
    """
    for name, given, known in (("case", case, ("lower", "keep")), ("accents", accents, ("auto", "strip", "keep"))):
        if given not in known:
            raise ValueError(f"{name}={given!r}; expected one of {', '.join(known)}")
    lowercase = case == "lower"
    kept, stripped = make(lowercase, False), make(lowercase, True)
    total, accented, cleaned = 0, _ChangedWords(), _ChangedWords()
    for word, count in words.items():
        total += count * len(word)
        if word.isascii():  # no normalizer changes anything but its case
            continue
        result = kept.normalize_str(word)
        if stripped.normalize_str(word) != result:
            accented.add(word, count)
        if any(unicodedata.category(char)[0] == "C" and char not in result for char in word):
            cleaned.add(word, count)
    strip = accented.characters <= AUTO_SHARE * total if accents == "auto" else accents == "strip"
    return Normalization(lowercase, strip, accented.change(total, stripped), cleaned.change(total, kept))
