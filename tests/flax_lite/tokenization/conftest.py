"""Fixtures for the tests of tokenizers."""

import functools

import pytest

from flax_lite.tokenization import recipes

_comma_pattern = functools.cache(recipes.comma_pattern)


@pytest.fixture(autouse=True)
def _cached_comma_pattern(monkeypatch):
    """Computes the comma pattern of a vocabulary once; a full vocabulary takes seconds."""
    monkeypatch.setattr(recipes, "comma_pattern", lambda vocab, unk_id: _comma_pattern(tuple(vocab), unk_id))
