"""Tests of directories written or replaced as a whole."""

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
    """A model directory with a tokenizer, a model card that is a link, and a subdirectory."""
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
def test_failing_replacement_keeps_the_existing_directory(
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


def test_target_that_cannot_be_replaced_is_refused(existing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for target, message in ((existing / "weights", "is a file"), (Path("/proc"), "cannot be replaced")):
        with pytest.raises(ValueError, match=message), staged_directory(target):
            pass
    monkeypatch.chdir(existing / "runs")
    with pytest.raises(ValueError, match="cannot be replaced"), staged_directory(existing):
        pass


def test_alone_removes_directories_of_killed_processes(tmp_path):
    target = tmp_path / "model"
    (target / "kept").mkdir(parents=True)
    for name in (".model.new-0123abcd", ".model.old-0123abcd", ".model.md", ".models.new-0123abcd"):
        (tmp_path / name).mkdir()
    with staged_directory(target, replaces=("*",), alone=True) as stage:
        (stage / "new").touch()
        assert (target / "kept").is_dir()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert {path.name for path in tmp_path.iterdir()} == {"model", ".model.md", ".models.new-0123abcd"}


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o2770, 0o3777, 0o555, 0o500])
def test_permissions_are_kept(mode, existing):
    umask = os.umask(0o022)
    try:
        existing.chmod(mode)
        (existing / "weights").chmod(0o600)
        former = (existing / "weights").stat().st_mtime_ns
        with staged_directory(existing, replaces=("weights*",)) as stage:
            assert stage.stat().st_mode & 0o777 == mode & 0o777 | 0o700  # not readable by others before the swap either
            (stage / "weights").write_text("new")
            (stage / "more").write_text("new")
        assert existing.stat().st_mode & 0o7777 == mode
        modes = {name: (existing / name).stat().st_mode & 0o777 for name in ("weights", "more", "tokenizer.json")}
        assert modes["weights"] == 0o600
        assert modes["more"] == 0o644
        assert (existing / "weights").stat().st_mtime_ns > former
    finally:
        os.umask(umask)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners")
def test_owner_and_group_are_kept(existing):
    os.chown(existing, 12345, 23456)
    existing.chmod(0o2770)
    os.chown(existing / "weights", 12345, 34567)
    with staged_directory(existing) as stage:
        (stage / "weights").write_text("new")
    found = existing.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (12345, 23456, 0o2770)
    found = (existing / "weights").stat()
    assert (found.st_uid, found.st_gid) == (12345, 34567)


def test_permissions_do_not_pass_to_another_group(existing, monkeypatch):
    """If the group cannot be kept, its permissions are removed."""
    wanted = existing.stat().st_gid + 1
    existing.chmod(0o2775)

    def refuse(*_: object) -> None:
        raise PermissionError

    stat = Path.stat
    monkeypatch.setattr(os, "chown", refuse)
    monkeypatch.setattr(
        Path, "stat", lambda self, **options: with_group(stat(self, **options), self == existing, wanted)
    )
    with staged_directory(existing) as stage:
        assert os.stat(stage).st_mode & 0o777 == 0o705


def with_group(found: os.stat_result, replace: bool, group: int) -> os.stat_result:
    fields = list(found)
    fields[5] = group if replace else fields[5]
    return os.stat_result(fields)


def test_new_directory_follows_the_umask(tmp_path):
    umask = os.umask(0o027)
    try:
        with staged_directory(tmp_path / "new") as stage:
            (stage / "file").touch()
    finally:
        os.umask(umask)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o750
