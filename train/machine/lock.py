"""Exclusive use of a directory by one process at a time."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from train.errors import UserError
from train.machine.paths import WorkPath


@contextlib.contextmanager
def open_directory(path: Path, is_ours: Callable[[set[str]], bool]) -> Iterator[None]:
    """Creates or reopens a directory and holds its lock.

    Args:
      path: the directory.
      is_ours: given the names of its entries, returns whether this is the kind of directory the caller means.

    Raises:
      UserError: the directory cannot be written, contains something else, or is in use.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise UserError(
            f"--workdir {path} cannot be used: {_reason(error)}. Give a directory that can be created and written"
        ) from error
    require_ours(path, names, is_ours)
    with _lock(path):
        yield


def lock_holder(path: WorkPath) -> str:
    """Returns the process that holds, or last held, a directory's lock; "" if the directory was never locked."""
    try:
        return (path / "lock").read_text().strip()
    except OSError:
        return ""


def require_ours(path: WorkPath, names: set[str], is_ours: Callable[[set[str]], bool]) -> None:
    """Raises UserError unless `is_ours` accepts the names of a directory's entries."""
    if not is_ours(names):
        example = ", ".join(sorted(names)[:3])
        raise UserError(
            f"--workdir {path} holds something else ({example}) and is not a work directory. Give a new or an empty one"
        )


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    # The kernel releases flock however the process ends. filelock's fallback for file systems without flock, a marker
    # file, would outlive a killed process and is therefore off.
    lock = FileLock(path / "lock", timeout=0, fallback_to_soft=False, on_acquired=_write_holder)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except Timeout:
            holder = lock_holder(path) or "another process"
            raise UserError(
                f"--workdir {path} is in use by {holder}. Wait for it, stop it, or give another --workdir"
            ) from None
        except OSError as error:
            raise UserError(
                f"--workdir {path} cannot be locked: {_reason(error)}. Give a directory that can be written, on a "
                "local disk"
            ) from error
        yield


def _write_holder(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
