"""Tests of what a tokenizer.json's steps may do to a text: published expressions pass, catastrophes do not."""

import json

import pytest
from tokenizers import Regex, normalizers, pre_tokenizers

from flax_lite.tokenization.patterns import check_regex, check_steps

# Expressions as published, and how many characters each takes at least.
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
    "a comma, as ours": (r",(?:(?<=19,)(?=(?:0|00)(?![0-9ab]))|(?<=20,)(?=(?:1)(?![0-9])))", 1),
    "a repeat of one length": ("(?:ab)+c", 3),
    "a counted repeat": ("(?:ab){2,3}?", 4),
    "a bracket in a class": (r"[]a]|[^]\]]", 1),
    "a class in a class": ("[[:alpha:]&&[a-c]]x", 2),
    "escapes of several letters": (r"\x{1F600}\x41\u00e9\p{Han}\.", 5),
    "braces for themselves": ("a{b}{,}", 7),
    "named": ("(?<year>[0-9]{4})", 4),
    "nothing but a place": (r"^|\b(?=a)|$", 0),
    "perhaps nothing": ("a*", 0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_harmless_expressions_pass_and_take_what_they_take(name):
    pattern, width = KNOWN[name]
    assert check_regex(pattern) == width
    pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str("it is 2019, naïve x")  # the library agrees


CATASTROPHES = {
    "a repeat in a repeat": ("(a+)+b", "repeats what itself varies"),
    "without a name": (r"(?:\s*)*x", "repeats what itself varies"),
    "two ways for the same": ("(a|aa)+$", "repeats what itself varies"),
    "perhaps, and again": ("(?:a?){30}a{30}", "repeats what itself varies"),
    "deep inside": ("x(?:y(?:(?:z(?i:a{2,})b)))*", "repeats what itself varies"),
    "behind a class": (r"[(](b+c?)+[)]", "repeats what itself varies"),
    "behind an escape": (r"\\(b+)+", "repeats what itself varies"),
    "inside a look ahead": ("(?=(a+)+b)", "repeats what itself varies"),
    "of a line's end": (r"(?:\R)+", "repeats what itself varies"),
    "of a quantifier": ("a+*", "repeats what itself varies"),
    "many in a row": ("a*a*a*a*b", "more than 3 unbounded repeats"),
    "many in a row, in groups": (r"(?:\s*x)(?:\s*y)\s*(?:z|\s+)a", "more than 3 unbounded repeats"),
    "a reference": (r"(.*)\1", "refers back"),
    "a reference by name": (r"(?<n>.*)\k<n>", "refers back"),
    "a call": (r"(?<n>a\g<n>?b)", "refers back"),
    "absence": ("(?~abc)", "of a kind that is not known"),
    "a condition": ("(?(1)a|b)", "of a kind that is not known"),
    "a call out": ("(*FAIL)", "of a kind that is not known"),
    "white space that does not count": ("(?x: a )", "of a kind that is not known"),
    "groups without end": ("(" * 10**5, "nested more than 50 deep"),
}


@pytest.mark.parametrize("name", CATASTROPHES)
def test_expressions_that_may_take_for_ever_are_refused(name):
    pattern, message = CATASTROPHES[name]
    with pytest.raises(ValueError, match=f"may take for ever on some text: .*{message}"):
        check_regex(pattern)


@pytest.mark.parametrize(
    "pattern", ["", "(", ")", "a)b", "[", "[^", "\\", "(?", "a{", "*", "a{99999999999999999}", "(?<"]
)
def test_what_is_malformed_ends(pattern):
    """Whether it is an expression at all, the library says."""
    try:
        check_regex(pattern)
    except ValueError as error:
        assert "not known here" in str(error)  # noqa: PT017


def replace(old, new):
    return {"type": "Replace", "pattern": old if isinstance(old, dict) else {"String": old}, "content": new}


def nested(steps):
    whole = steps[0]
    for step in steps[1:]:
        whole = {"type": "Sequence", "normalizers": [whole, step]}
    return whole


BYTES = {"type": "ByteLevel", "add_prefix_space": False}
GROWTHS = {
    "thirty doublings": ([replace("a", "aa")] * 30, False),
    "ten doublings": ([replace("a", "aa")] * 10, True),
    "eleven doublings, nested": (nested([replace("a", "aa")] * 11), False),
    "one step": ([replace("a", "a" * 1025)], False),
    "one long text for a long one": ([replace("a" * 100, "a" * 1025)], True),
    "hundred steps that do not grow": ([replace("ab", "ba")] * 100, True),
    "apostrophes": ([replace({"Regex": "[‘’]"}, "'")] * 100, True),
    "of nothing": ([replace("", "x" * 30)] * 3, False),
    "of nothing, by an expression": ([replace({"Regex": "(?=.)"}, "x" * 30)] * 3, False),
    "of spaces": ([replace({"Regex": r"\s+"}, "  ")] * 11, False),
    "before each": ([{"type": "Prepend", "prepend": "▁"}] * 11, False),
    "one before": ({"type": "Prepend", "prepend": "▁"}, True),
    "bytes of bytes": ({"type": "Sequence", "pretokenizers": [BYTES] * 6}, False),
    "bytes": (BYTES, True),
    "maps of maps": ([{"type": "Precompiled", "precompiled_charsmap": ""}] * 3, False),
    "nothing": (None, True),
    "no steps at all": ("x", True),
}


@pytest.mark.parametrize("name", GROWTHS)
def test_growth_of_a_text_is_bounded(name):
    steps, fine = GROWTHS[name]
    if fine:
        check_steps(steps)
    else:
        with pytest.raises(ValueError, match=r"may make a text [\d,]+ times as long .*, expected at most 1024"):
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
    written = json.loads(step.__getstate__())
    monkeypatch.setattr("flax_lite.tokenization.patterns._MAX_GROWTH", grown * 0.999)
    with pytest.raises(ValueError, match="times as long"):
        check_steps(written)
