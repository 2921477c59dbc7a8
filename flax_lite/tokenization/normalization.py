"""Case and accents of a tokenizer that is trained: as they are asked for, or as the text needs them."""

import dataclasses
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
class Normalization:
    """What becomes of a text before it is cut, and what dropping accents does, or would do, to it.

    Attributes:
        lowercase: whether it is lower-cased.
        strip_accents: whether accents and other marks are dropped, and what is compatible with other characters becomes
            these.
        share: of the text's characters, those in words that dropping accents changes.
        example: the most frequent of these words, and what it would become; None where there is none.
    """

    lowercase: bool
    strip_accents: bool
    share: float
    example: tuple[str, str] | None

    def __str__(self) -> str:
        case = "lower case" if self.lowercase else "case kept"
        if self.example is None:
            return f"{case}, accents {'dropped' if self.strip_accents else 'kept'}, of which the text has none"
        before, after = (word if len(word) <= _SHOWN else f"{word[:_SHOWN]}…" for word in self.example)
        change = f"{self.share:.2%} of the text ({before} to {after})"
        if self.strip_accents:
            return f"{case}, accents dropped, which changes {change}"
        return f"{case}, accents kept: to drop them would change {change}"


def decide(
    words: Mapping[str, int], make: Callable[[bool, bool], normalizers.Normalizer], case: Case, accents: Accents
) -> Normalization:
    """What to do to a text.

    Args:
        words: what stands between its spaces, with counts.
        make: (lowercase, strip_accents) to a normalizer.
        case: "lower" or "keep".
        accents: "strip" or "keep"; "auto" drops them where that changes less than `AUTO_SHARE` of the text.

    Raises:
        ValueError: if it is none of these.
    """
    for name, given, known in (("case", case, ("lower", "keep")), ("accents", accents, ("auto", "strip", "keep"))):
        if given not in known:
            raise ValueError(f"{name}={given!r}; expected one of {', '.join(known)}")
    lowercase = case == "lower"
    kept, stripped = make(lowercase, False), make(lowercase, True)
    total = changed = 0
    most: tuple[int, str] | None = None
    for word, count in words.items():
        size = count * len(word)
        total += size
        # Normalizers of either kind do the same to ASCII.
        if not word.isascii() and stripped.normalize_str(word) != kept.normalize_str(word):
            changed += size
            most = min(most or (-count, word), (-count, word))
    share = changed / max(total, 1)
    strip = share < AUTO_SHARE if accents == "auto" else accents == "strip"
    example = None if most is None else (most[1], stripped.normalize_str(most[1]))
    return Normalization(lowercase, strip, share, example)
