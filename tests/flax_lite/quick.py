"""A shortcut for tests that open many models: to trace them takes longer than what is tested."""

import functools

import pytest

from flax_lite.checkpoints import conversion

_all_parameters = functools.cache(conversion.all_parameters)


def survey_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which parameters the heads of a config have is found out once for each config: it traces every model."""
    monkeypatch.setattr(conversion, "all_parameters", _all_parameters)
