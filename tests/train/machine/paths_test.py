"""Work directories as written on the command line."""

from pathlib import Path

import pytest

from train.machine.paths import work_path


@pytest.mark.parametrize(
    ("text", "path"), [("~/runs/a", "/home/me/runs/a"), ("~", "/home/me"), ("runs/~", "runs/~"), ("/a", "/a")]
)
def test_a_leading_tilde_is_the_home_directory(monkeypatch, text, path):
    monkeypatch.setenv("HOME", "/home/me")
    assert work_path(text) == Path(path)
