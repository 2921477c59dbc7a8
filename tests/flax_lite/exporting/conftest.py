"""Checkpoints are opened quickly."""

import pytest

from tests.flax_lite import quick


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    quick.survey_once(monkeypatch)
