"""Directories written or replaced as a whole.

By hand, because no dependency replaces a directory: Orbax only renames finished directories to new names.
"""

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
    """Yields a new directory beside the target, and renames it to the target when the block ends without an error.

    Until then an existing target is unchanged. Its files are kept (a tokenizer, a model card), except those that the
    block wrote again and those that match `replaces`. Owner, group, mode and access list are kept, for the directory
    and for each replaced file. A process killed between the two renames leaves both directories complete, under hidden
    names beside the target.

    Args:
        target: the directory; parents are created.
        replaces: globs on names in an existing target that are not kept; "*" keeps nothing.
        alone: whether no other process writes the target now: staged directories of killed processes are then removed.

    Raises:
        ValueError: if the target cannot be replaced: it is a file, a mount point, or contains the working directory.
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
    """Whether a name is that of a directory in the middle of a replacement, new or old."""
    return re.fullmatch(r"\..+\.(new|old)-[0-9a-f]{8}", name) is not None


def _sibling(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}-{uuid.uuid4().hex[:8]}")


def _exchange(path: Path, stage: Path, replaces: Collection[str]) -> None:
    """Replaces an existing directory by the staged one, with the files that are kept."""
    access = path.stat()
    for entry in stage.iterdir():
        former = path / entry.name
        if former.is_file() and not former.is_symlink() and entry.is_file():
            _take_access(former, entry)
    kept = [entry for entry in path.iterdir() if not any(entry.match(pattern) for pattern in replaces)]
    for entry in kept:
        # Regular files are in the new directory before the swap; links and subdirectories are moved after it.
        if entry.is_file() and not entry.is_symlink() and not (stage / entry.name).exists():
            _link_or_copy(entry, stage / entry.name)
    old = _sibling(path, "old")
    path.rename(old)
    try:
        stage.rename(path)
    except BaseException:
        old.rename(path)
        raise
    with contextlib.suppress(OSError):  # owned by another user, or writable already
        old.chmod(0o700)
    for entry in kept:
        if not (path / entry.name).exists():
            (old / entry.name).rename(path / entry.name)
    shutil.rmtree(old)
    if (owner := access.st_mode & 0o700) != 0o700:  # restores a read-only mode
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o700 | owner)


def _take_access(former: Path, new: Path, at_least: int = 0) -> None:
    """Sets owner, group, mode and access list of a directory or file to those of the one it replaces, if permitted."""
    wanted = former.stat()
    mode = stat.S_IMODE(wanted.st_mode) | at_least
    for user, group in ((wanted.st_uid, wanted.st_gid), (-1, wanted.st_gid)):
        try:
            os.chown(new, user, group)
            break
        except OSError:  # only root may change the owner; others may change the group to one of their own
            continue
    if new.stat().st_gid != wanted.st_gid:
        mode &= ~0o070  # permissions of the former group must not pass to another group
    for access_list in ("system.posix_acl_access", "system.posix_acl_default"):
        with contextlib.suppress(OSError, AttributeError):  # no access list, or not supported by the system
            os.setxattr(new, access_list, os.getxattr(former, access_list))
    new.chmod(mode)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _flush(directory: Path) -> None:
    """Flushes all files and directories to disk."""
    for path in (*directory.rglob("*"), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
