"""What the steps of a tokenizer.json may do to a text: regular expressions without a catastrophe, and bounded growth.

The `tokenizers` library runs Oniguruma, which backtracks: `(a+)+b` takes time exponential in the text. It replaces as
often as it is told: thirty steps that each write "aa" for "a" make a gigabyte of one letter.

Source: github.com/kkos/oniguruma, doc/RE; tokenizers 0.22 src/normalizers, src/pre_tokenizers, src/decoders.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

# NFKC makes 18 characters of one, and steps that write two for one are few in any published tokenizer.
_MAX_GROWTH = 1024
# What a step of bytes makes of a character (UTF-8 has up to four), and a compiled map (of NFKC, rounded).
_GROWTHS = {"ByteLevel": 4, "Precompiled": 16}
# GPT-4's expression has two in a row: `[^\s\p{L}\p{N}]+[\r\n]*`. With n the time of a text grows as its nth power.
_MAX_UNBOUNDED = 3
_MAX_DEPTH = 50
_ESCAPE = re.compile(
    r"\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|x[0-9a-fA-F]{0,2}|u[0-9a-fA-F]{0,4}|0[0-7]{0,2}|c.|C-.|M-.|.)", re.DOTALL
)
_QUANTIFIER = re.compile(r"([*+?]|\{(\d*)(,?)(\d*)\})[?+]?")
_GROUP = re.compile(r"\((?:\?(?::|=|!|>|<=|<!|<[^>=!]+>|'[^']+'|[imsWDSPaul-]+(?::|(?=\)))))?(?![?*])")


@dataclasses.dataclass(frozen=True)
class _Part:
    """A part of an expression: characters it takes at least, whether it may take others, unbounded repeats in a row."""

    width: int = 0
    varies: bool = False
    unbounded: int = 0


def check_steps(steps: Any) -> None:
    """Refuses steps of a tokenizer.json (normalizer, pre_tokenizer or decoder) that may take for ever.

    Raises:
        ValueError: for a regular expression that may, by its form, or for steps that together may make a text more than
            1024 times as long.
    """
    growth = 1.0
    for step in _steps(steps):
        pattern = step.get("pattern")
        width = None
        if isinstance(pattern, Mapping) and isinstance(pattern.get("Regex"), str):
            width = check_regex(pattern["Regex"])
        elif isinstance(pattern, Mapping) and isinstance(pattern.get("String"), str):
            width = len(pattern["String"])
        growth *= _growth(step, width)
        if growth > _MAX_GROWTH:
            raise ValueError(
                f"its steps may make a text {growth:,.0f} times as long (Replace, Prepend and others multiply), "
                f"expected at most {_MAX_GROWTH}"
            )


def check_regex(pattern: str) -> int:
    """The number of characters that a regular expression takes at least.

    Raises:
        ValueError: for one that may take time exponential in the text: a repeat of what itself varies in length, a
            reference back, more than three unbounded repeats in a row; or for a form that is not known here.
    """
    reader = _Reader(pattern)
    part = reader.alternatives()
    while reader.position < len(pattern):  # a bracket too much: the library says so
        reader.position += 1
        reader.alternatives()
    return part.width


def _steps(value: Any) -> Iterator[Mapping[str, Any]]:
    """All steps, those of nested sequences too."""
    if isinstance(value, Mapping):
        yield value
        for each in value.values():
            yield from _steps(each)
    elif isinstance(value, list):
        for each in value:
            yield from _steps(each)


def _growth(step: Mapping[str, Any], width: int | None) -> float:
    """How many times as long a step makes a text, at most."""
    kind, content, before = step.get("type"), step.get("content"), step.get("prepend")
    if kind == "Replace" and isinstance(content, str) and width is not None:
        # What takes nothing is found before every character, and at the end.
        return max(1.0, len(content) / width) if width else 1.0 + 2 * len(content)
    if kind == "Prepend" and isinstance(before, str):
        return 1.0 + len(before)
    return _GROWTHS.get(str(kind), 1.0)


class _Reader:
    """Walks an expression in Oniguruma's Ruby syntax."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.position = 0
        self.depth = 0

    def alternatives(self) -> _Part:
        """Everything up to the bracket that closes it, or the end."""
        branches = [self._branch()]
        while self.pattern.startswith("|", self.position):
            self.position += 1
            branches.append(self._branch())
        return _Part(
            min(branch.width for branch in branches),
            len(branches) > 1 or branches[0].varies,
            max(branch.unbounded for branch in branches),
        )

    def _branch(self) -> _Part:
        width, varies, unbounded = 0, False, 0
        while self.position < len(self.pattern) and self.pattern[self.position] not in "|)":
            part = self._repeated(self._atom())
            width, varies, unbounded = width + part.width, varies or part.varies, unbounded + part.unbounded
            if unbounded > _MAX_UNBOUNDED:
                raise self._refused(f"more than {_MAX_UNBOUNDED} unbounded repeats follow one another")
        return _Part(width, varies, unbounded)

    def _repeated(self, part: _Part) -> _Part:
        while found := _QUANTIFIER.match(self.pattern, self.position):
            if found[1][0] == "{" and not (found[2] or found[4]):
                break  # braces that stand for themselves
            self.position = found.end()
            least, most = _counts(found)
            if most > 1 and part.varies:
                raise self._refused("it repeats what itself varies in length")
            part = _Part(int(least * part.width), part.varies or least != most, part.unbounded + (most == math.inf))
        return part

    def _atom(self) -> _Part:
        character = self.pattern[self.position]
        if character == "(":
            return self._group()
        if character == "[":
            self._character_class()
            return _Part(1)
        if character == "\\":
            return self._escape()
        self.position += 1
        return _Part(0 if character in "^$" else 1)

    def _escape(self) -> _Part:
        found = _ESCAPE.match(self.pattern, self.position)
        if found is None:  # at the very end: the library says so
            self.position += 1
            return _Part(1)
        kind = found[0][1]
        if kind in "123456789kg":
            raise self._refused("it refers back to a group")
        self.position = found.end()
        return _Part(0 if kind in "bBAzZGKyY" else 1, kind in "RX")

    def _group(self) -> _Part:
        found = _GROUP.match(self.pattern, self.position)
        if found is None:
            raise self._refused("a group of a kind that is not known here")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self._refused(f"its groups are nested more than {_MAX_DEPTH} deep")
        self.position = found.end()
        inside = self.alternatives()
        self.position += 1
        self.depth -= 1
        looks_around = found[0] in ("(?=", "(?!", "(?<=", "(?<!")
        return dataclasses.replace(inside, width=0) if looks_around else inside

    def _character_class(self) -> None:
        depth, start = 0, self.position
        while self.position < len(self.pattern):
            character = self.pattern[self.position]
            if character == "\\":
                self.position += 1
            elif character == "[":
                depth, start = depth + 1, self.position
            elif character == "]" and self.pattern[start : self.position] not in ("[", "[^"):
                depth -= 1
            self.position += 1
            if depth == 0:
                return

    def _refused(self, why: str) -> ValueError:
        return ValueError(
            f"its regular expression {self.pattern[:100]!r} may take for ever on some text: {why} (at "
            f"{min(self.position, len(self.pattern))})"
        )


def _counts(found: re.Match[str]) -> tuple[float, float]:
    """How often a quantifier repeats, at least and at most."""
    if found[1][0] != "{":
        return {"*": (0, math.inf), "+": (1, math.inf), "?": (0, 1)}[found[1]]
    least = int(found[2][:9] or 0)
    return least, (int(found[4][:9]) if found[4] else math.inf) if found[3] else least
