"""Tests of directories that appear, or are replaced, as a whole."""

import os
from pathlib import Path

import pytest

from flax_lite.files.staging import staged_directory


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def write_and_fail(target: Path) -> None:
    with staged_directory(target, replaces=("weights*",)) as stage:
        (stage / "weights").write_text("half")
        raise RuntimeError


@pytest.fixture
def existing(tmp_path: Path) -> Path:
    """A model directory with a tokenizer, a model card that is a link, and a directory of its own."""
    target = tmp_path / "model"
    (target / "runs").mkdir(parents=True)
    (target / "runs" / "log").write_text("log")
    (target / "weights").write_text("old")
    (target / "weights.old").write_text("older")
    (target / "tokenizer.json").write_text("{}")
    (target / "README.md").symlink_to("tokenizer.json")
    return target


def test_new_directory_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with staged_directory(target) as stage:
        (stage / "weights").write_text("new")
        assert not target.exists()
    assert (target / "weights").read_text() == "new"
    assert names(tmp_path / "deep") == {"model"}


def test_failing_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write_and_fail(tmp_path / "model")
    assert names(tmp_path) == set()


def test_existing_directory_is_replaced_at_the_end_and_other_files_stay(existing: Path) -> None:
    with staged_directory(existing, replaces=("weights*",)) as stage:
        (stage / "weights").write_text("new")
        assert (existing / "weights").read_text() == "old"
    assert names(existing) == {"weights", "tokenizer.json", "README.md", "runs"}
    assert (existing / "weights").read_text() == "new"
    assert (existing / "README.md").is_symlink()
    assert (existing / "README.md").read_text() == "{}"
    assert (existing / "runs" / "log").read_text() == "log"
    assert names(existing.parent) == {"model"}


def test_failing_block_keeps_the_existing_directory(existing: Path) -> None:
    before = names(existing)
    with pytest.raises(RuntimeError):
        write_and_fail(existing)
    assert (existing / "weights").read_text() == "old"
    assert names(existing) == before
    assert names(existing.parent) == {"model"}


@pytest.mark.parametrize("failing_call", [1, 2])
def test_failing_exchange_keeps_the_existing_directory(
    failing_call: int, existing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, calls = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == failing_call:
            raise OSError("disk gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="disk gone"), staged_directory(existing) as stage:
        (stage / "weights").write_text("new")
    assert (existing / "weights").read_text() == "old"
    assert names(existing.parent) == {"model"}


def test_link_to_a_directory_stays_a_link(existing: Path) -> None:
    link = existing.with_name("latest")
    link.symlink_to("model")
    with staged_directory(link) as stage:
        (stage / "weights").write_text("new")
    assert link.is_symlink()
    assert (existing / "weights").read_text() == "new"


def test_copies_where_files_cannot_be_linked(existing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    with staged_directory(existing) as stage:
        (stage / "weights").write_text("new")
    assert (existing / "tokenizer.json").read_text() == "{}"


def test_what_cannot_be_replaced_is_refused(existing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for target, message in ((existing / "weights", "is a file"), (Path("/proc"), "cannot be replaced")):
        with pytest.raises(ValueError, match=message), staged_directory(target):
            pass
    monkeypatch.chdir(existing / "runs")
    with pytest.raises(ValueError, match="cannot be replaced"), staged_directory(existing):
        pass


def test_alone_it_replaces_all_and_removes_what_killed_processes_left(tmp_path):
    target = tmp_path / "model"
    (target / "kept").mkdir(parents=True)
    for name in (".model.new-0123abcd", ".model.old-0123abcd", ".model.md", ".models.new-0123abcd"):
        (tmp_path / name).mkdir()
    with staged_directory(target, replaces=("*",), alone=True) as stage:
        (stage / "new").touch()
        assert (target / "kept").is_dir()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert {path.name for path in tmp_path.iterdir()} == {"model", ".model.md", ".models.new-0123abcd"}
