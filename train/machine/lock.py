"""A directory that one process at a time may use."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from train.errors import UserError
from train.machine.paths import WorkPath


@contextlib.contextmanager
def open_directory(path: Path, is_ours: Callable[[set[str]], bool]) -> Iterator[None]:
    """Creates or reopens a directory and holds its lock.

    Args:
      path: of the directory.
      is_ours: whether the names in it are those of the directory that is meant.

    Raises:
      UserError: it cannot be written, holds something else, or is in use.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        content = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise UserError(
            f"--workdir {path} cannot be used: {_reason(error)}. Give a directory that can be created and written"
        ) from error
    require_ours(path, content, is_ours)
    with _lock(path):
        yield


def lock_holder(path: WorkPath) -> str:
    """Who holds, or last held, a directory's lock; "" where nobody ever did."""
    try:
        return (path / "lock").read_text().strip()
    except OSError:
        return ""


def require_ours(path: WorkPath, content: set[str], is_ours: Callable[[set[str]], bool]) -> None:
    """Raises UserError where the names in a directory are not those of the directory that is meant."""
    if not is_ours(content):
        example = ", ".join(sorted(content)[:3])
        raise UserError(
            f"--workdir {path} holds something else ({example}) and is no work directory. Give a new or an empty one"
        )


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    # flock belongs to the process: the kernel releases it however the process ends, so a stale file locks nobody out.
    # The file is never deleted, or two processes could hold locks on two files of one name.
    try:
        file = (path / "lock").open("a+")
    except OSError as error:
        raise UserError(f"--workdir {path} cannot be written: {_reason(error)}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"--workdir {path} cannot be locked: {_reason(error)}. Use a local disk") from error
            holder = lock_holder(path) or "another process"
            raise UserError(
                f"--workdir {path} is in use by {holder}. Wait for it, stop it, or give another --workdir"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
