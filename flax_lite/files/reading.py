"""The one way to open a file of somebody's directory.

Such a directory comes from an archive, a repository or a disk that others write to: what lies under a name may be a
device, a pipe, a link to anything, a file that tells a wrong size, or the stand-in that git left for it. All of these
are one ValueError that begins with the path; nothing is waited for, and no more is read than was asked for.
"""

import contextlib
import errno
import io
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

_Result = TypeVar("_Result")

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
# github.com/git-lfs/git-lfs/blob/main/docs/spec.md: the first line of what git keeps in the place of a large file.
_LFS = b"version https://git-lfs.github.com/spec/"
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
# How long an exchange (flax_lite/files/staging.py) may leave no directory under the name, or not all that it keeps.
_EXCHANGE_SECONDS = 1.0


def is_there(path: Path) -> bool:
    """Whether anything lies under the name: also what `open_file` refuses, so that it is refused, not overlooked."""
    return os.path.lexists(path)


@contextlib.contextmanager
def open_file(path: str | os.PathLike[str], *, links_out: bool = False) -> Iterator[io.BufferedReader]:
    """A regular file, open for reading.

    Args:
        path: the file.
        links_out: whether it may be a link to a file outside of its directory. Where its content may be copied into
            what is written, that would publish whatever the link names. Hugging Face's cache, whose snapshots are links
            to blobs of the same repository, is always read.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: something else is there: a directory, a device, a pipe, a link in a circle, to nothing or out of the
            directory, the pointer of git-lfs.
    """
    path = Path(path)
    _refuse_all_but_files(path, _stat(path).st_mode)
    if not links_out and (target := outside(path, path.parent)):
        raise ValueError(
            f"{path} is a link out of its directory, to {target}: what that file holds could be copied into what is "
            "written. Where you trust it, put a copy in the link's place"
        )
    # Another thing may have taken the name since: opening must not wait for it, and it is looked at again.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _refuse_all_but_files(path, os.fstat(file.fileno()).st_mode)
        if _beginning(file).startswith(_LFS):
            raise ValueError(
                f"{path} is a git-lfs pointer, not the file itself, which was not downloaded: run `git lfs pull` in "
                "the repository, or download the file anew"
            )
        yield file


@contextlib.contextmanager
def one_error(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the system says of an open file that cannot be read, as of /proc/self/mem, into a ValueError."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error


def read_bytes(path: str | os.PathLike[str], max_bytes: int, *, links_out: bool = False) -> bytes:
    """A file's content; links as in `open_file`.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: larger than `max_bytes`, whatever size it tells, or as `open_file`.
    """
    with open_file(path, links_out=links_out) as file, one_error(path):
        size = os.fstat(file.fileno()).st_size
        pieces, left = [], max_bytes + 1
        if size > max_bytes:
            raise ValueError(f"{path} has {size} bytes, expected at most {max_bytes}: it is something else")
        # Sizes are only a hint: those of /proc are 0, and a file may grow.
        while left and (piece := file.read(min(left, size + 1))):
            pieces.append(piece)
            left -= len(piece)
            size = 2**20
        if not left:
            raise ValueError(f"{path} has more than {max_bytes} bytes: it is something else")
        return b"".join(pieces)


def read_text(path: str | os.PathLike[str], max_bytes: int) -> str:
    """A file's content as UTF-8, as it is: with its carriage returns.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: no UTF-8, a byte order mark before it, or as `read_bytes`.
    """
    data = read_bytes(path, max_bytes)
    try:
        return decoded(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def decoded(data: bytes) -> str:
    """UTF-8 as text.

    Raises:
        ValueError: it is none, or begins with a byte order mark, which would be taken for a part of the text.
    """
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"it begins with a byte order mark ({encoding}): save it as UTF-8 without one")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text: {error}") from error


def copy_file(source: str | os.PathLike[str], target: Path, max_bytes: int) -> None:
    """Writes a file's content to another one; raises as `read_bytes`."""
    target.write_bytes(read_bytes(source, max_bytes))


def read_consistently(place: Path, read: Callable[[], _Result]) -> _Result:
    """What `read` makes of a directory's files, all of the same directory; a file's place is the directory around it.

    Another process may put a new directory in its place meanwhile (flax_lite/files/staging.py): then all is read again,
    once. Files that are open or mapped by then stay what they are.

    Raises:
        ValueError: it was replaced again; or what `read` raises.
    """
    for again in (False, True):
        wait_for_replacement(place)
        with _held(place) as is_same:
            try:
                result = read()
            except (ValueError, OSError):
                # Directories that are kept follow into the new one, and the old one goes when they have.
                if is_same() and (again or "old" not in _beside(place)):
                    raise
                _wait_while(lambda: "old" in _beside(place))
            else:
                if is_same():
                    return result
    raise ValueError(f"{place} was replaced by another process while it was read, and again: try again")


def wait_for_replacement(path: Path) -> bool:
    """Waits, for a moment, where another process is putting a directory under a name; returns whether it is there."""
    for _ in range(2):  # a directory is listed while names move in it: one look may miss them
        _wait_while(lambda: not is_there(path) and "old" in _beside(path))
        if is_there(path):
            return True
        time.sleep(0.005)
    return is_there(path)


def _wait_while(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _EXCHANGE_SECONDS
    while condition() and time.monotonic() < end:
        time.sleep(0.005)


def _beside(directory: Path) -> set[str]:
    """What an exchange has beside a directory: the "new" one, which is to take its name, and the "old" one."""
    path = Path(os.path.realpath(directory))
    staged = re.compile(rf"\.{re.escape(path.name)}\.(new|old)-[0-9a-f]{{8}}")
    try:
        return {match[1] for name in os.listdir(path.parent) if (match := staged.fullmatch(name))}
    except OSError:
        return set()


@contextlib.contextmanager
def _held(place: Path) -> Iterator[Callable[[], bool]]:
    """Gives whether a directory, or that around a file, still is the same; open, its number is nobody else's."""

    def directory() -> Path:
        return place if place.is_dir() else place.parent

    first = directory()
    try:
        descriptor = os.open(first, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # what is wrong with it, the reader says
        yield lambda: directory() == first and not first.is_dir()
        return

    def is_same() -> bool:
        try:
            return directory() == first and os.path.samestat(os.fstat(descriptor), os.stat(first))
        except OSError:
            return False

    try:
        yield is_same
    finally:
        os.close(descriptor)


def _stat(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{path} is a link that leads in a circle") from error
        if error.errno == errno.ENOENT and is_there(path):
            raise ValueError(f"{path} is a link to {os.readlink(path)}, where nothing is") from error
        raise


def _refuse_all_but_files(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, expected a file")


def _beginning(file: io.BufferedReader) -> bytes:
    try:
        return file.peek(len(_LFS))
    except OSError:  # whoever reads on learns why
        return b""


def outside(path: Path, directory: Path) -> Path | None:
    """Where a link out of a directory leads; None for whatever stays there, or in the blobs of the same repository.

    Source: huggingface_hub's guide "Understand caching": models--OWNER--NAME/snapshots/COMMIT/... link into blobs/.
    """
    folder, target = Path(os.path.realpath(directory)), Path(os.path.realpath(path))
    repository = next((each.parents[1] for each in (folder, *folder.parents) if each.parent.name == "snapshots"), None)
    inside = target.is_relative_to(folder) or (repository is not None and target.parent == repository / "blobs")
    return None if inside else target
