"""A work directory in a bucket: kept on a local disk, copied to the bucket.

Objects can neither be appended to nor renamed in one go, so the process that keeps the work directory writes to a
private local directory, and `Mirror.publish` copies what changed. Checkpoints are not in it: Orbax writes those to the
bucket itself.

Nor can a bucket hold a lock that ends with its process: a preempted machine would leave it behind, and nobody could
tell. So the newest start wins. Each writes a token of its own; a process that finds another's stops before its next
write.
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
# Of what is in the bucket, this is not ours to remove: written by others, or added to by every run.
_ADDED_TO = ("checkpoints", "checkpoints.bad", "tensorboard", "profile", LOCK)
_LAST = "summary.json"


class Mirror:
    """A private local directory and the work directory in a bucket that it is copied to.

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
        self._lost, self._told = False, False
        try:
            write_object(remote / LOCK, self._token)
        except Exception as error:
            raise cannot_be_used(remote, error) from error

    def fetch(self) -> None:
        """Copies what earlier runs left and this one reads: the records and the tokenizer."""
        there = [name for name in files_below(self._remote) if _top(name) not in _ADDED_TO]
        for name in _FETCHED:
            if name in there:
                fetch_file(self._remote / name, self.local / name)
        for name in _FETCHED_TREES:
            copy_tree(self._remote / name, self.local / name)
        self._sent = dict.fromkeys(there) | {name: state for name, state in self._found().items() if name in there}

    def is_ours(self) -> bool:
        """Whether no other process has taken the work directory over."""
        if not self._lost:
            try:
                self._lost = (self._remote / LOCK).read_text() != self._token
            except FileNotFoundError:
                self._lost = True
        return not self._lost

    def publish(self) -> None:
        """Copies what changed since the last time to the bucket, the summary last, and removes what vanished.

        Raises:
          RunError: another process has taken over, said once: from then on nothing is written and nothing said; or the
            bucket cannot be written.
        """
        if self._told:
            return
        try:
            is_ours = self.is_ours()
            if is_ours:
                self._send()
        except Exception as error:
            raise RunError(
                f"{self._remote} could not be written: {first_line(error)}\nThe same command continues from its last "
                "checkpoint, once it can"
            ) from error
        if not is_ours:
            self._told = True
            raise RunError(
                f"another process ({_holder(self._remote)}) has taken over the work directory {self._remote}; this one "
                "stops, everything it saved stands"
            )

    def _send(self) -> None:
        found = self._found()
        changed = [name for name, state in found.items() if self._sent.get(name) != state]
        for name in sorted(changed, key=lambda name: (name == _LAST, name)):
            send_file(self.local / name, self._remote / name)
            self._sent[name] = found[name]
        # What was not fetched and has not been made anew, such as an earlier run's model/, stays.
        made = {_top(name) for name in found}
        gone = [name for name, state in self._sent.items() if name not in found and (state or _top(name) in made)]
        for name in gone:
            (self._remote / name).unlink(missing_ok=True)
            del self._sent[name]

    def _found(self) -> dict[str, tuple[int, int]]:
        """Size and time of every local file, without those that are being staged."""
        found = {}
        for folder, folders, names in os.walk(self.local):
            folders[:] = [name for name in folders if not _is_staged(name)]
            for path in (Path(folder) / name for name in names if not _is_staged(name)):
                stat = path.stat()
                found[path.relative_to(self.local).as_posix()] = (stat.st_size, stat.st_mtime_ns)
        return found


@contextlib.contextmanager
def opened_mirror(remote: epath.Path) -> Iterator[Mirror]:
    """Takes a work directory in a bucket over, with a local directory that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="flax_lite-") as folder:
        yield Mirror(remote, Path(folder))


def names_in(remote: epath.Path) -> set[str]:
    """The names below a path in a bucket.

    Raises:
      UserError: it cannot be read.
    """
    try:
        # A console leaves an object of the directory's own name.
        return {entry.name for entry in remote.iterdir() if entry != remote}
    except FileNotFoundError:
        return set()
    except Exception as error:
        raise cannot_be_used(remote, error) from error


def cannot_be_used(remote: epath.Path, error: Exception) -> UserError:
    """What to say where a bucket does not let itself be read or written."""
    return UserError(
        f"--workdir {remote} cannot be used: {first_line(error)}. Give a path in a bucket that exists and that this "
        "account may read and write (gcloud auth application-default login)"
    )


def first_line(error: Exception) -> str:
    """An error's name and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _holder(remote: epath.Path) -> str:
    with contextlib.suppress(Exception):
        return (remote / LOCK).read_text().partition(",")[0]
    return "unknown"


def _top(name: str) -> str:
    return name.partition("/")[0]


def _is_staged(name: str) -> bool:
    return (name.startswith(".") and name.endswith(".staged")) or is_staged(name)
