"""Directories that appear, or are replaced, as a whole."""

import contextlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path


@contextlib.contextmanager
def staged_directory(
    target: str | os.PathLike[str], replaces: Collection[str] = (), *, alone: bool = False
) -> Iterator[Path]:
    """A new directory beside the target, which takes the target's name when the block ends without an error.

    Until then an existing target stays as it was. Of its files, those that the block wrote again and those that
    `replaces` names are replaced; the others are kept (a tokenizer, a model card). Who may read and write the directory
    stays as it was, and so for each file that is replaced. A process killed at the very moment of the exchange leaves
    both directories whole, under hidden names beside the target.

    Args:
        target: the directory; parents are created.
        replaces: globs on names in it that are not kept; "*" keeps nothing.
        alone: no other process writes the target now: what killed ones left beside it is removed.

    Raises:
        ValueError: if the target is a file, a mount point, or holds the current directory: it cannot be replaced.
    """
    path = Path(target).expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; expected the name of a directory")
    if path.is_mount() or Path.cwd().is_relative_to(path):
        raise ValueError(f"{path} cannot be replaced as a whole; name a directory inside it")
    path.parent.mkdir(parents=True, exist_ok=True)
    if alone:
        for left in (entry for entry in path.parent.glob(f".{path.name}.*") if is_staged(entry.name)):
            shutil.rmtree(left)
    stage = _sibling(path, "new")
    stage.mkdir()
    try:
        if path.exists():
            _take_access(path, stage, at_least=0o700)
        yield stage
        _flush(stage)
        if path.exists():
            _exchange(path, stage, replaces)
        else:
            stage.rename(path)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise


def is_staged(name: str) -> bool:
    """Whether a name is one that a directory has before it takes its own, or after another took it."""
    return re.fullmatch(r"\..+\.(new|old)-[0-9a-f]{8}", name) is not None


def _sibling(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}-{uuid.uuid4().hex[:8]}")


def _exchange(path: Path, stage: Path, replaces: Collection[str]) -> None:
    access = path.stat()
    for entry in stage.iterdir():
        former = path / entry.name
        if former.is_file() and not former.is_symlink() and entry.is_file():
            _take_access(former, entry)
    kept = [entry for entry in path.iterdir() if not any(entry.match(pattern) for pattern in replaces)]
    for entry in kept:
        # Plain files are in the new directory from its first moment; links and directories follow it.
        if entry.is_file() and not entry.is_symlink() and not (stage / entry.name).exists():
            _link_or_copy(entry, stage / entry.name)
    old = _sibling(path, "old")
    path.rename(old)
    try:
        stage.rename(path)
    except BaseException:
        old.rename(path)
        raise
    with contextlib.suppress(OSError):  # of another owner, or writable as it is
        old.chmod(0o700)
    for entry in kept:
        if not (path / entry.name).exists():
            (old / entry.name).rename(path / entry.name)
    shutil.rmtree(old)
    if (owner := access.st_mode & 0o700) != 0o700:  # whoever made it read-only has it so again
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o700 | owner)


def _take_access(former: Path, new: Path, at_least: int = 0) -> None:
    """Gives a new directory or file the owner, group, mode and access list of the one it replaces, where permitted."""
    wanted = former.stat()
    mode = stat.S_IMODE(wanted.st_mode) | at_least
    for user, group in ((wanted.st_uid, wanted.st_gid), (-1, wanted.st_gid)):
        try:
            os.chown(new, user, group)
            break
        except OSError:  # only root gives away, and only to groups of one's own
            continue
    if new.stat().st_gid != wanted.st_gid:
        mode &= ~0o070  # what the former group was permitted is no other group's
    for access_list in ("system.posix_acl_access", "system.posix_acl_default"):
        with contextlib.suppress(OSError, AttributeError):  # none there, or a system without
            os.setxattr(new, access_list, os.getxattr(former, access_list))
    new.chmod(mode)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _flush(directory: Path) -> None:
    """Has the files on disk before the directory's name promises them."""
    for path in (*directory.rglob("*"), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
