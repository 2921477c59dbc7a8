"""Where a work directory is, as the command line writes it."""

from pathlib import Path

import pytest

from train.machine.paths import work_path


@pytest.mark.parametrize(
    ("text", "path"), [("~/runs/a", "/home/me/runs/a"), ("~", "/home/me"), ("runs/~", "runs/~"), ("/a", "/a")]
)
def test_the_home_directory_is_known(monkeypatch, text, path):
    monkeypatch.setenv("HOME", "/home/me")
    assert work_path(text) == Path(path)
