"""Checks of the steps of a tokenizer.json: published expressions pass, catastrophic ones are refused."""

import json

import pytest
from tokenizers import Regex, normalizers, pre_tokenizers

from flax_lite.tokenization.patterns import check_regex, check_steps

# Expressions with the minimum number of characters that they match; some are published.
KNOWN = {
    "GPT-2": (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", 1),
    "Llama 3": (
        (
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
            r"\s+(?!\S)|\s+"
        ),
        1,
    ),
    "GPT-4o": (
        (
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
            r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        1,
    ),
    "Digits, as Falcon's": ("[0-9][0-9][0-9]", 3),
    "ALBERT's spaces": (" {2,}", 2),
    "white space": (r"[\s\x1c-\x1f]+", 1),
    "our comma pattern": (r",(?:(?<=19,)(?=(?:0|00)(?![0-9ab]))|(?<=20,)(?=(?:1)(?![0-9])))", 1),
    "a repeat of one length": ("(?:ab)+c", 3),
    "a counted repeat": ("(?:ab){2,3}?", 4),
    "a bracket in a class": (r"[]a]|[^]\]]", 1),
    "a class in a class": ("[[:alpha:]&&[a-c]]x", 2),
    "escapes of several letters": (r"\x{1F600}\x41\u00e9\p{Han}\.", 5),
    "literal braces": ("a{b}{,}", 7),
    "named": ("(?<year>[0-9]{4})", 4),
    "assertions only": (r"^|\b(?=a)|$", 0),
    "possibly empty": ("a*", 0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_harmless_expressions_pass_with_their_width(name):
    pattern, width = KNOWN[name]
    assert check_regex(pattern) == width
    pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str("it is 2019, naïve x")


CATASTROPHES = {
    "a repeat in a repeat": ("(a+)+b", "it repeats a part that varies in length"),
    "a repeat in a repeat, not captured": (r"(?:\s*)*x", "it repeats a part that varies in length"),
    "two ways for the same": ("(a|aa)+$", "it repeats a part that varies in length"),
    "an optional part, repeated": ("(?:a?){30}a{30}", "it repeats a part that varies in length"),
    "deep inside": ("x(?:y(?:(?:z(?i:a{2,})b)))*", "it repeats a part that varies in length"),
    "after a class": (r"[(](b+c?)+[)]", "it repeats a part that varies in length"),
    "after an escape": (r"\\(b+)+", "it repeats a part that varies in length"),
    "inside a lookahead": ("(?=(a+)+b)", "it repeats a part that varies in length"),
    "of a line's end": (r"(?:\R)+", "it repeats a part that varies in length"),
    "of a quantifier": ("a+*", "it repeats a part that varies in length"),
    "many in a row": ("a*a*a*a*b", "more than 3 unbounded repeats"),
    "many in a row, in groups": (r"(?:\s*x)(?:\s*y)\s*(?:z|\s+)a", "more than 3 unbounded repeats"),
    "a reference": (r"(.*)\1", "it has a back-reference to a group"),
    "a reference by name": (r"(?<n>.*)\k<n>", "it has a back-reference to a group"),
    "a call": (r"(?<n>a\g<n>?b)", "it has a back-reference to a group"),
    "absence": ("(?~abc)", "it has a kind of group that is not supported"),
    "a condition": ("(?(1)a|b)", "it has a kind of group that is not supported"),
    "a call out": ("(*FAIL)", "it has a kind of group that is not supported"),
    "ignored white space": ("(?x: a )", "it has a kind of group that is not supported"),
    "deeply nested groups": ("(" * 10**5, "nested more than 50 deep"),
}


@pytest.mark.parametrize("name", CATASTROPHES)
def test_expressions_of_exponential_time_are_refused(name):
    pattern, message = CATASTROPHES[name]
    with pytest.raises(ValueError, match=f"may take exponential time on some text: .*{message}"):
        check_regex(pattern)


@pytest.mark.parametrize(
    "pattern", ["", "(", ")", "a)b", "[", "[^", "\\", "(?", "a{", "*", "a{99999999999999999}", "(?<"]
)
def test_malformed_expressions_terminate(pattern):
    """The library reports malformed expressions; the check only has to terminate."""
    try:
        check_regex(pattern)
    except ValueError as error:
        assert "kind of group that is not supported" in str(error)  # noqa: PT017


def replace(old, new):
    return {"type": "Replace", "pattern": old if isinstance(old, dict) else {"String": old}, "content": new}


def nested(steps):
    sequence = steps[0]
    for step in steps[1:]:
        sequence = {"type": "Sequence", "normalizers": [sequence, step]}
    return sequence


BYTES = {"type": "ByteLevel", "add_prefix_space": False}
GROWTHS = {
    "thirty doublings": ([replace("a", "aa")] * 30, False),
    "ten doublings": ([replace("a", "aa")] * 10, True),
    "eleven doublings, nested": (nested([replace("a", "aa")] * 11), False),
    "one step": ([replace("a", "a" * 1025)], False),
    "one long replacement of a long match": ([replace("a" * 100, "a" * 1025)], True),
    "hundred steps that do not grow": ([replace("ab", "ba")] * 100, True),
    "apostrophes": ([replace({"Regex": "[‘’]"}, "'")] * 100, True),
    "replacement of the empty string": ([replace("", "x" * 30)] * 3, False),
    "replacement of an empty match": ([replace({"Regex": "(?=.)"}, "x" * 30)] * 3, False),
    "replacement of spaces": ([replace({"Regex": r"\s+"}, "  ")] * 11, False),
    "several prefixes": ([{"type": "Prepend", "prepend": "▁"}] * 11, False),
    "one prefix": ({"type": "Prepend", "prepend": "▁"}, True),
    "bytes of bytes": ({"type": "Sequence", "pretokenizers": [BYTES] * 6}, False),
    "bytes": (BYTES, True),
    "maps of maps": ([{"type": "Precompiled", "precompiled_charsmap": ""}] * 3, False),
    "nothing": (None, True),
    "no steps at all": ("x", True),
}


@pytest.mark.parametrize("name", GROWTHS)
def test_growth_of_a_text_is_bounded(name):
    steps, is_allowed = GROWTHS[name]
    if is_allowed:
        check_steps(steps)
    else:
        with pytest.raises(ValueError, match=r"may make a text [\d,]+ times as long .*; expected at most 1024 times"):
            check_steps(steps)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (normalizers.Replace("", "xyz"), "aaaa"),
        (normalizers.Replace(Regex("(?=.)"), "xyz"), "aaaa"),
        (normalizers.Replace("ab", "xyz"), "abab"),
        (normalizers.Replace(Regex("a{2}"), "xyz"), "aaaa"),
        (normalizers.Prepend("xy"), "a"),
        (normalizers.ByteLevel(), "\U0001f600"),
    ],
)
def test_growth_is_at_least_the_librarys(step, text, monkeypatch):
    grown = len(step.normalize_str(text)) / len(text)
    serialized = json.loads(step.__getstate__())
    monkeypatch.setattr("flax_lite.tokenization.patterns._MAX_GROWTH", grown * 0.999)
    with pytest.raises(ValueError, match="times as long"):
        check_steps(serialized)
