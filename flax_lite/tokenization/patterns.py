r"""Checks that the steps of a tokenizer.json run in bounded time and space: safe regular expressions, bounded growth.

The `tokenizers` library runs Oniguruma, which backtracks: `(a+)+b` takes time exponential in the length of the text.
Replacement steps multiply: thirty steps that each replace "a" by "aa" turn one letter into a gigabyte.

No library does this check: `tokenizers` runs any expression that it can compile, and the parser of Python's `re` does
not read Oniguruma's syntax (`\p{L}`).

Source: github.com/kkos/oniguruma, doc/RE; tokenizers 0.22 src/normalizers, src/pre_tokenizers, src/decoders.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

# NFKC writes up to 18 characters for one, and published tokenizers have few steps that write two characters for one.
_MAX_GROWTH = 1024
# Growth by step: UTF-8 has up to four bytes per character; a compiled map contains NFKC (18, rounded to a power of
# two).
_GROWTHS = {"ByteLevel": 4, "Precompiled": 16}
# n unbounded repeats in a row take time O(length^n). GPT-4's expression has two: `[^\s\p{L}\p{N}]+[\r\n]*`.
_MAX_UNBOUNDED = 3
_MAX_DEPTH = 50
_ESCAPE = re.compile(
    r"\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|x[0-9a-fA-F]{0,2}|u[0-9a-fA-F]{0,4}|0[0-7]{0,2}|c.|C-.|M-.|.)", re.DOTALL
)
_QUANTIFIER = re.compile(r"([*+?]|\{(\d*)(,?)(\d*)\})[?+]?")
_GROUP = re.compile(r"\((?:\?(?::|=|!|>|<=|<!|<[^>=!]+>|'[^']+'|[imsWDSPaul-]+(?::|(?=\)))))?(?![?*])")


@dataclasses.dataclass(frozen=True)
class _Part:
    """A part of a regular expression.

    Attributes:
        width: the minimum number of characters it matches.
        varies: whether matches differ in length.
        unbounded: the number of unbounded repeats in a row.
    """

    width: int = 0
    varies: bool = False
    unbounded: int = 0


def check_steps(steps: Any) -> None:
    """Checks the steps of a tokenizer.json (normalizer, pre_tokenizer or decoder) for unbounded time and growth.

    Raises:
        ValueError: if a regular expression may take exponential time, or if the steps may in total make a text more
            than 1024 times as long.
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
                f"its steps may make a text {growth:,.0f} times as long (the growth of Replace, Prepend and other "
                f"steps multiplies); expected at most {_MAX_GROWTH} times"
            )


def check_regex(pattern: str) -> int:
    """Checks a regular expression, and returns the minimum number of characters that it matches.

    Raises:
        ValueError: if it may take time exponential in the length of the text: a repeated part that varies in length, a
            back-reference, or more than three unbounded repeats in a row; or if it has a kind of group that this check
            does not support.
    """
    reader = _Reader(pattern)
    part = reader.alternatives()
    while reader.position < len(pattern):  # an unmatched bracket, which the library reports
        reader.position += 1
        reader.alternatives()
    return part.width


def _steps(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yields all steps, including nested ones."""
    if isinstance(value, Mapping):
        yield value
        for each in value.values():
            yield from _steps(each)
    elif isinstance(value, list):
        for each in value:
            yield from _steps(each)


def _growth(step: Mapping[str, Any], width: int | None) -> float:
    """Returns the maximum factor by which a step makes a text longer; `width` is the minimum match of its pattern."""
    kind, content, prefix = step.get("type"), step.get("content"), step.get("prepend")
    if kind == "Replace" and isinstance(content, str) and width is not None:
        # A pattern that matches the empty string matches before every character, and at the end.
        return max(1.0, len(content) / width) if width else 1.0 + 2 * len(content)
    if kind == "Prepend" and isinstance(prefix, str):
        return 1.0 + len(prefix)
    return _GROWTHS.get(str(kind), 1.0)


class _Reader:
    """Recursive-descent parser of Oniguruma's Ruby syntax, as far as the check needs it."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.position = 0
        self.depth = 0

    def alternatives(self) -> _Part:
        """Reads up to the closing bracket, or to the end."""
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
                raise self._error(f"it has more than {_MAX_UNBOUNDED} unbounded repeats in a row")
        return _Part(width, varies, unbounded)

    def _repeated(self, part: _Part) -> _Part:
        while found := _QUANTIFIER.match(self.pattern, self.position):
            if found[1][0] == "{" and not (found[2] or found[4]):
                break  # literal braces
            self.position = found.end()
            least, most = _counts(found)
            if most > 1 and part.varies:
                raise self._error("it repeats a part that varies in length")
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
        if found is None:  # a backslash at the end, which the library reports
            self.position += 1
            return _Part(1)
        kind = found[0][1]
        if kind in "123456789kg":
            raise self._error("it has a back-reference to a group")
        self.position = found.end()
        return _Part(0 if kind in "bBAzZGKyY" else 1, kind in "RX")

    def _group(self) -> _Part:
        found = _GROUP.match(self.pattern, self.position)
        if found is None:
            raise self._error("it has a kind of group that is not supported")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self._error(f"its groups are nested more than {_MAX_DEPTH} deep")
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

    def _error(self, reason: str) -> ValueError:
        return ValueError(
            f"its regular expression {self.pattern[:100]!r} may take exponential time on some text: {reason} (at "
            f"character {min(self.position, len(self.pattern))})"
        )


def _counts(found: re.Match[str]) -> tuple[float, float]:
    """Returns the minimum and maximum number of repeats of a quantifier."""
    if found[1][0] != "{":
        return {"*": (0, math.inf), "+": (1, math.inf), "?": (0, 1)}[found[1]]
    least = int(found[2][:9] or 0)
    return least, (int(found[4][:9]) if found[4] else math.inf) if found[3] else least
