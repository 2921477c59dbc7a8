"""What the tests of tokenizers share."""

import functools

import pytest

from flax_lite.tokenization import recipes

_comma_pattern = functools.cache(recipes.comma_pattern)


@pytest.fixture(autouse=True)
def _comma_pattern_once(monkeypatch):
    """That of the genuine vocabulary takes seconds, and follows from the vocabulary alone."""
    monkeypatch.setattr(recipes, "comma_pattern", lambda vocab, unk_id: _comma_pattern(tuple(vocab), unk_id))
