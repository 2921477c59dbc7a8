"""Local files: content hashes, atomic writes, locks, JSON, and the cache directory."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

_CACHED_FROM_BYTES = 64 * 2**20  # smaller files are hashed in under 0.1 s


def content_hash(path: Path, cache: Path) -> str:
    """Returns the hash of a file's contents, from a cache for large files.

    Args:
        path: the file.
        cache: the directory of cached hashes. A large file's hash is stored under its path, size and modification
            time, so that the file is not read at every start.
    """
    stat = path.stat()
    if stat.st_size < _CACHED_FROM_BYTES:
        return hash_file(path)
    key = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}"
    cached = cache / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    if not cached.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = cached.with_suffix(f".{os.getpid()}")
        draft.write_text(hash_file(path), encoding="ascii")
        draft.rename(cached)
    return cached.read_text(encoding="ascii")


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
    """Writes or appends to a text file and waits until it is on disk (fsync)."""
    with path.open(mode, encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def hash_file(path: Path) -> str:
    """Returns the hash of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def to_json(value: Any, indent: int | None = None) -> str:
    """Serializes a value as JSON. NaN and infinity, which JSON cannot represent, become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically, as `to_json`: readers see the old file or the new one."""
    write_whole(path, (to_json(value, indent=2) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically: to a temporary name, fsync, rename."""
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
