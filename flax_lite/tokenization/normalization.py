"""Case and accents of a tokenizer that is trained: as they are asked for, or as the text needs them."""

import dataclasses
import unicodedata
from collections.abc import Callable, Mapping
from typing import Literal

from tokenizers import normalizers

Case = Literal["lower", "keep"]
Accents = Literal["auto", "strip", "keep"]
# Of English, words that lose something make 0.03% (97 novels) or 0.13% (1,800 paragraphs of Wikipedia); this is eight
# times that. Where marks are letters' own (Vietnamese, Hindi, Thai, kana, Hangul, й) they make most of a text.
AUTO_SHARE = 0.01
_SHOWN = 20  # characters of an example: without spaces, a word is a sentence


@dataclasses.dataclass(frozen=True)
class Change:
    """What a part of the normalization does to a text, or would do.

    Attributes:
        share: of the text's characters, those in words that are changed.
        example: the most frequent of these words, one with letters if there is any, and what it becomes.
    """

    share: float
    example: tuple[str, str]

    def __str__(self) -> str:
        before, after = (word if len(word) <= _SHOWN else f"{word[:_SHOWN]}…" for word in self.example)
        return f"{self.share:.2%} of the text ({before} to {after})"


@dataclasses.dataclass(frozen=True)
class Normalization:
    """What becomes of a text before it is cut.

    Attributes:
        lowercase: whether it is lower-cased.
        strip_accents: whether accents and other marks are dropped.
        accents: what dropping them does, or would do; None where there are none.
        controls: what dropping control characters does, joiners of letters (U+200C, U+200D) among them; None where none
            is dropped.
    """

    lowercase: bool
    strip_accents: bool
    accents: Change | None
    controls: Change | None = None

    @property
    def is_lossy(self) -> bool:
        """Whether the text loses anything but its case."""
        return self.controls is not None or (self.strip_accents and self.accents is not None)

    def __str__(self) -> str:
        case = "lower case" if self.lowercase else "case kept"
        fate = "dropped" if self.strip_accents else "kept"
        if self.accents is None:
            what = f"accents {fate}, of which the text has none"
        elif self.strip_accents:
            what = f"accents dropped, which changes {self.accents}"
        else:
            what = f"accents kept: to drop them would change {self.accents}"
        more = f"; control characters dropped, which changes {self.controls}" if self.controls else ""
        return f"{case}, {what}{more}"


class _Tally:
    """Words that are changed, counted."""

    def __init__(self) -> None:
        self.characters = 0
        self.most: tuple[bool, int, str] | None = None

    def add(self, word: str, count: int) -> None:
        self.characters += count * len(word)
        rank = (not any(map(str.isalpha, word)), -count, word)
        self.most = min(self.most or rank, rank)

    def change(self, total: int, normalizer: normalizers.Normalizer) -> Change | None:
        if self.most is None:
            return None
        word = self.most[2]
        return Change(self.characters / total, (word, normalizer.normalize_str(word)))


def decide(
    words: Mapping[str, int], make: Callable[[bool, bool], normalizers.Normalizer], case: Case, accents: Accents
) -> Normalization:
    """What to do to a text.

    Args:
        words: what stands between its spaces, with counts.
        make: (lowercase, strip_accents) to a normalizer.
        case: "lower" or "keep".
        accents: "strip" or "keep"; "auto" drops them where that changes at most `AUTO_SHARE` of the text.

    Raises:
        ValueError: if it is none of these.
    """
    for name, given, known in (("case", case, ("lower", "keep")), ("accents", accents, ("auto", "strip", "keep"))):
        if given not in known:
            raise ValueError(f"{name}={given!r}; expected one of {', '.join(known)}")
    lowercase = case == "lower"
    kept, stripped = make(lowercase, False), make(lowercase, True)
    total, marked, cleaned = 0, _Tally(), _Tally()
    for word, count in words.items():
        total += count * len(word)
        if word.isascii():  # what normalizers of either kind leave as it is, but for its case
            continue
        result = kept.normalize_str(word)
        if stripped.normalize_str(word) != result:
            marked.add(word, count)
        if any(unicodedata.category(each)[0] == "C" and each not in result for each in word):
            cleaned.add(word, count)
    strip = marked.characters <= AUTO_SHARE * total if accents == "auto" else accents == "strip"
    return Normalization(lowercase, strip, marked.change(total, stripped), cleaned.change(total, kept))
