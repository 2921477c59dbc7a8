"""A work directory in a bucket: written to a local directory and copied to the bucket.

Objects cannot be appended to or renamed atomically, so host 0 writes to a private local directory, and `Mirror.publish`
copies the changed files. Checkpoints are excluded: Orbax writes them to the bucket directly.

A bucket has no lock that ends with its process: a preempted machine would leave a lock behind that looks like a held
one. So the newest start wins. Each start writes its own token, and a process that finds another token stops before its
next write.
"""

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from flax_lite.files.staging import is_staged
from train.errors import RunError, UserError
from train.machine.paths import copy_tree, fetch_file, files_below, send_file, write_object

LOCK = "lock"
_FETCHED = ("config.json", "summary.json", "metrics.jsonl")
_FETCHED_TREES = ("tokenizer",)
# Entries in the bucket that are never removed: other processes write them, or every run adds to them.
_NEVER_REMOVED = ("checkpoints", "checkpoints.bad", "tensorboard", "profile", LOCK)
_LAST = "summary.json"


class Mirror:
    """A private local directory that is copied to a work directory in a bucket.

    Args:
      remote: the work directory.
      local: an empty directory.

    Attributes:
      local: the local directory.

    Raises:
      UserError: the work directory cannot be written.
    """

    def __init__(self, remote: epath.Path, local: Path) -> None:
        self._remote, self.local = remote, local
        self._token = f"process {os.getpid()} on {socket.gethostname()}, {secrets.token_hex(8)}"
        self._sent: dict[str, tuple[int, int] | None] = {}
        self._lost, self._reported = False, False
        try:
            write_object(remote / LOCK, self._token)
        except Exception as error:
            raise cannot_be_used(remote, error) from error

    def fetch(self) -> None:
        """Copies the files of earlier runs that this run reads: the records and the tokenizer."""
        present = [name for name in files_below(self._remote) if _top(name) not in _NEVER_REMOVED]
        for name in _FETCHED:
            if name in present:
                fetch_file(self._remote / name, self.local / name)
        for name in _FETCHED_TREES:
            copy_tree(self._remote / name, self.local / name)
        self._sent = dict.fromkeys(present) | {
            name: state for name, state in self._local_files().items() if name in present
        }

    def is_ours(self) -> bool:
        """Whether no other process has taken over the work directory."""
        if not self._lost:
            try:
                self._lost = (self._remote / LOCK).read_text() != self._token
            except FileNotFoundError:
                self._lost = True
        return not self._lost

    def publish(self) -> None:
        """Copies files changed since the last call to the bucket, summary.json last, and removes deleted files.

        Raises:
          RunError: another process has taken over (raised once; later calls do nothing), or the bucket cannot be
            written.
        """
        if self._reported:
            return
        try:
            is_ours = self.is_ours()
            if is_ours:
                self._send()
        except Exception as error:
            raise RunError(
                f"{self._remote} could not be written: {first_line(error)}\nOnce that works, the same command "
                "continues from its last checkpoint"
            ) from error
        if not is_ours:
            self._reported = True
            raise RunError(
                f"another process ({_holder(self._remote)}) has taken over the work directory {self._remote}; this one "
                "stops, and everything it saved is kept"
            )

    def _send(self) -> None:
        found = self._local_files()
        changed = [name for name, state in found.items() if self._sent.get(name) != state]
        for name in sorted(changed, key=lambda name: (name == _LAST, name)):
            send_file(self.local / name, self._remote / name)
            self._sent[name] = found[name]
        # Entries that were neither fetched nor rewritten, such as an earlier run's model/, are kept.
        rewritten = {_top(name) for name in found}
        deleted = [
            name for name, state in self._sent.items() if name not in found and (state or _top(name) in rewritten)
        ]
        for name in deleted:
            (self._remote / name).unlink(missing_ok=True)
            del self._sent[name]

    def _local_files(self) -> dict[str, tuple[int, int]]:
        """Returns size and modification time of every local file, except staged files."""
        found = {}
        for folder, folders, names in os.walk(self.local):
            folders[:] = [name for name in folders if not _is_staged(name)]
            for path in (Path(folder) / name for name in names if not _is_staged(name)):
                stat = path.stat()
                found[path.relative_to(self.local).as_posix()] = (stat.st_size, stat.st_mtime_ns)
        return found


@contextlib.contextmanager
def opened_mirror(remote: epath.Path) -> Iterator[Mirror]:
    """Takes over a work directory in a bucket, with a local directory that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="flax_lite-") as folder:
        yield Mirror(remote, Path(folder))


def names_in(remote: epath.Path) -> set[str]:
    """Returns the names of the entries of a directory in a bucket.

    Raises:
      UserError: it cannot be read.
    """
    try:
        # Google's web console creates an object with the directory's own name.
        return {entry.name for entry in remote.iterdir() if entry != remote}
    except FileNotFoundError:
        return set()
    except Exception as error:
        raise cannot_be_used(remote, error) from error


def cannot_be_used(remote: epath.Path, error: Exception) -> UserError:
    """Makes the error for a bucket that cannot be read or written."""
    return UserError(
        f"--workdir {remote} cannot be used: {first_line(error)}. Give a path in a bucket that exists and that this "
        "account may read and write (gcloud auth application-default login)"
    )


def first_line(error: Exception) -> str:
    """Returns an error's type and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _holder(remote: epath.Path) -> str:
    with contextlib.suppress(Exception):
        return (remote / LOCK).read_text().partition(",")[0]
    return "unknown"


def _top(name: str) -> str:
    return name.partition("/")[0]


def _is_staged(name: str) -> bool:
    return (name.startswith(".") and name.endswith(".staged")) or is_staged(name)
