"""Files of this machine: content hashes, whole writes, locks that die with their process, the place of the cache."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

_REMEMBER_FROM_BYTES = 64 * 2**20  # hashing less than this takes under 0.1 s


def content_hash(path: Path, memory: Path) -> str:
    """Returns the hash of a file's contents.

    Args:
        path: the file.
        memory: directory in which the hash of a large file is kept under its path, size and time of change, so that it
            is read once and not at every start.
    """
    stat = path.stat()
    if stat.st_size < _REMEMBER_FROM_BYTES:
        return hash_file(path)
    identity = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}"
    remembered = memory / hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    if not remembered.exists():
        memory.mkdir(parents=True, exist_ok=True)
        draft = remembered.with_suffix(f".{os.getpid()}")
        draft.write_text(hash_file(path), encoding="ascii")
        draft.rename(remembered)
    return remembered.read_text(encoding="ascii")


@contextlib.contextmanager
def exclusive_lock(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds a lock that the kernel releases when the process ends; calls `on_wait` once if another process holds it."""
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_durably(path: Path, text: str, mode: Literal["w", "a"] = "w") -> None:
    """Writes a text file, or adds to it, and waits until it is on the disk."""
    with path.open(mode, encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def hash_file(path: Path) -> str:
    """The hash of all of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON. A number that is not finite becomes null, as JSON has no other way to say it."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole, as `to_json`: a reader sees the old one or the new one."""
    write_whole(path, (to_json(value, indent=2) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole, and has it on the disk before it takes its name."""
    staged = path.with_name(f".{path.name}.staged")
    with staged.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def default_cache_dir() -> Path:
    """Returns $FLAX_LITE_CACHE, else flax_lite in $XDG_CACHE_HOME, else ~/.cache/flax_lite."""
    if chosen := os.environ.get("FLAX_LITE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flax_lite"
