"""Safe opening and reading of files in directories that other people or processes write.

Such a directory comes from an archive, a repository or a shared disk. A name in it may belong to a device, a pipe, a
link to any file, a file that reports a wrong size, or a git-lfs pointer. Each of these raises a ValueError that begins
with the path; opening never blocks, and at most the requested number of bytes is read.
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
# First line of a git-lfs pointer file (github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
_LFS = b"version https://git-lfs.github.com/spec/"
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
# Longest time for which a replacement (flax_lite/files/staging.py) leaves a directory missing or without kept files.
_REPLACEMENT_SECONDS = 1.0


def is_there(path: Path) -> bool:
    """Whether the name exists, broken links included: `open_file` refuses those instead of ignoring them."""
    return os.path.lexists(path)


@contextlib.contextmanager
def open_file(path: str | os.PathLike[str], *, links_out: bool = False) -> Iterator[io.BufferedReader]:
    """Opens a regular file for reading.

    Args:
        path: the file.
        links_out: whether the file may be a link to a file outside of its directory. Not where its content may be
            copied into an output directory: that would publish the target of the link. Links of Hugging Face's
            cache, from a snapshot to a blob of the same repository, are always followed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the path is a directory, a device, a pipe, a circular or broken link, a link out of the directory,
            or a git-lfs pointer.
    """
    path = Path(path)
    _check_regular(path, _stat(path).st_mode)
    if not links_out and (target := outside(path, path.parent)):
        raise ValueError(
            f"{path} is a link out of its directory, to {target}, whose content could be copied into the output. "
            "If you trust that file, replace the link by a copy of it"
        )
    # The name may have been replaced since: opening must not block, and the open file is checked again.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _check_regular(path, os.fstat(file.fileno()).st_mode)
        if _first_bytes(file).startswith(_LFS):
            raise ValueError(
                f"{path} is a git-lfs pointer; the file itself was not downloaded: run `git lfs pull` in the "
                "repository, or download the file again"
            )
        yield file


@contextlib.contextmanager
def errors_as_value_error(path: str | os.PathLike[str]) -> Iterator[None]:
    """Converts an OSError from reading an open file, such as /proc/self/mem, to a ValueError."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error


def read_bytes(path: str | os.PathLike[str], max_bytes: int, *, links_out: bool = False) -> bytes:
    """Returns a file's content; links as in `open_file`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is larger than `max_bytes`, whatever size it reports, or as `open_file`.
    """
    with open_file(path, links_out=links_out) as file, errors_as_value_error(path):
        size = os.fstat(file.fileno()).st_size
        pieces, left = [], max_bytes + 1
        if size > max_bytes:
            raise ValueError(f"{path} has {size} bytes, expected at most {max_bytes}: it is another kind of file")
        # The size is only a hint: files in /proc report 0, and a file may grow.
        while left and (piece := file.read(min(left, size + 1))):
            pieces.append(piece)
            left -= len(piece)
            size = 2**20
        if not left:
            raise ValueError(f"{path} has more than {max_bytes} bytes: it is another kind of file")
        return b"".join(pieces)


def read_text(path: str | os.PathLike[str], max_bytes: int) -> str:
    """Returns a file's content decoded as UTF-8, carriage returns included.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the content is not UTF-8 or starts with a byte order mark, or as `read_bytes`.
    """
    data = read_bytes(path, max_bytes)
    try:
        return decoded(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def decoded(data: bytes) -> str:
    """Returns UTF-8 bytes as text.

    Raises:
        ValueError: if they are not UTF-8, or start with a byte order mark, which would become part of the text.
    """
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"it starts with a byte order mark ({encoding}): save it as UTF-8 without one")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text: {error}") from error


def copy_file(source: str | os.PathLike[str], target: Path, max_bytes: int) -> None:
    """Copies a file's content to another file; raises as `read_bytes`."""
    target.write_bytes(read_bytes(source, max_bytes))


def read_consistently(path: Path, read: Callable[[], _Result]) -> _Result:
    """Returns the result of `read`, which reads files of one directory, all of them from the same version of it.

    Another process may replace the directory while it is read (flax_lite/files/staging.py): then `read` is called once
    more. Files that are already open or mapped keep their content.

    Args:
        path: the directory, or a file in it.
        read: reads the files.

    Raises:
        ValueError: the directory was replaced a second time; or as `read`.
    """
    for again in (False, True):
        wait_for_replacement(path)
        with _hold(path) as is_same:
            try:
                result = read()
            except (ValueError, OSError):
                # A replacement moves kept subdirectories after the swap of names, then removes the old directory.
                if is_same() and (again or "old" not in _staged_siblings(path)):
                    raise
                _wait_while(lambda: "old" in _staged_siblings(path))
            else:
                if is_same():
                    return result
    raise ValueError(f"{path} was replaced by another process twice while it was read: try again")


def wait_for_replacement(path: Path) -> bool:
    """Waits while another process replaces a directory, up to a second; returns whether the path exists then."""
    for _ in range(2):  # the first listing may miss names that move while the directory is listed
        _wait_while(lambda: not is_there(path) and "old" in _staged_siblings(path))
        if is_there(path):
            return True
        time.sleep(0.005)
    return is_there(path)


def _wait_while(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _REPLACEMENT_SECONDS
    while condition() and time.monotonic() < end:
        time.sleep(0.005)


def _staged_siblings(directory: Path) -> set[str]:
    """Which directories of a replacement exist beside a directory: "new", which will get its name, and "old"."""
    path = Path(os.path.realpath(directory))
    staged = re.compile(rf"\.{re.escape(path.name)}\.(new|old)-[0-9a-f]{{8}}")
    try:
        return {match[1] for name in os.listdir(path.parent) if (match := staged.fullmatch(name))}
    except OSError:
        return set()


@contextlib.contextmanager
def _hold(path: Path) -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether the directory, or a file's parent, is still the same one.

    The directory is held open, so that its inode number is not given to another one.
    """

    def directory() -> Path:
        return path if path.is_dir() else path.parent

    first = directory()
    try:
        descriptor = os.open(first, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # reading it will raise the error
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
            raise ValueError(f"{path} is a circular link") from error
        if error.errno == errno.ENOENT and is_there(path):
            raise ValueError(f"{path} is a broken link to {os.readlink(path)}") from error
        raise


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'not a regular file')}, expected a file")


def _first_bytes(file: io.BufferedReader) -> bytes:
    try:
        return file.peek(len(_LFS))
    except OSError:  # the next read raises it too
        return b""


def outside(path: Path, directory: Path) -> Path | None:
    """Returns the target of a link out of a directory; None within the directory or the blobs of its repository.

    Source: huggingface_hub's guide "Understand caching": models--OWNER--NAME/snapshots/COMMIT/... link into blobs/.
    """
    folder, target = Path(os.path.realpath(directory)), Path(os.path.realpath(path))
    repository = next((each.parents[1] for each in (folder, *folder.parents) if each.parent.name == "snapshots"), None)
    inside = target.is_relative_to(folder) or (repository is not None and target.parent == repository / "blobs")
    return None if inside else target
