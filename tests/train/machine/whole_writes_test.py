"""Files and directories replaced whole."""

import pytest

from train.machine.files import staged_directory


def test_staged_directory_replaces_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    for content in ("old", "new"):
        with staged_directory(target) as staged:
            (staged / content).touch()
            assert not (target / content).exists()
    assert [path.name for path in target.iterdir()] == ["new"]

    def fail():
        with staged_directory(target) as staged:
            (staged / "half").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in target.iterdir()] == ["new"]
