"""The persistent compilation cache, so that a restarted job does not compile its programs again."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from train.errors import UserError
from train.machine.files import default_cache_dir

# Room for some hundred programs of tens of megabytes. JAX locks the directory only if there is a limit; without a lock,
# jobs that start together read each other's incomplete files.
_LIMIT_BYTES = 8 * 2**30
_UNLIMITED = -1
# JAX's lock file (jax._src.lru_cache), held by a process while it writes a program.
_LOCK, _LOCK_SECONDS = ".lockfile", 10


@contextlib.contextmanager
def compilation_cache(option: str | None) -> Iterator[str]:
    """Enables the persistent compilation cache within the context; yields a line that names its directory.

    Args:
      option: "auto": JAX_COMPILATION_CACHE_DIR, else a directory in the user's cache, but no cache on a CPU, where a
        program is compiled for one model of CPU and may crash on another or after an update. None or "none": no cache.
        Anything else: this directory.

    Raises:
      UserError: the directory cannot be created, or other users may write to it (its contents are executed).
    """
    users = _setting("jax_compilation_cache_dir")
    if not _setting("jax_enable_compilation_cache"):
        yield "compilation cache: none (JAX_ENABLE_COMPILATION_CACHE is off)"
    elif option == "auto" and users:
        yield f"compilation cache: {users} (JAX_COMPILATION_CACHE_DIR)"
    else:
        directory, line = _automatic() if option == "auto" else _requested(option)
        if directory is not None:
            drop_unfinished(directory)
        with _enabled(directory):
            yield line


def private_directory(path: Path) -> Path:
    """Creates a directory with mode 700, or checks that only this user may write to an existing one.

    Returns:
      Its path with links resolved.

    Raises:
      OSError: it cannot be created.
      UserError: another user owns it or may write to it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = path.resolve()
    found = path.stat()
    if found.st_uid != os.geteuid():
        fault = f"belongs to user {found.st_uid}, this is user {os.geteuid()}"
    elif found.st_mode & 0o022:
        fault = f"may be written by other users (its mode is {found.st_mode & 0o777:o}): chmod 700 {path}"
    else:
        return path
    raise UserError(
        f"compiled programs are executed, so the cache must not be writable for others: {path} {fault}. "
        "Or give another directory (--config.compilation_cache=DIRECTORY) or none (--config.compilation_cache=none)"
    )


def drop_unfinished(directory: Path) -> None:
    """Removes programs that a killed process did not finish writing.

    JAX 0.10 to 0.12 writes a timestamp file next to each complete program. A program without one cannot be read, is
    never written again, and makes the eviction of others fail: after one preemption nothing more would be cached.
    """
    # If the lock cannot be acquired (timeout, read-only disk), JAX cannot write either.
    with contextlib.suppress(OSError), filelock.FileLock(directory / _LOCK, timeout=_LOCK_SECONDS):
        for program in directory.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
                program.unlink()


def _automatic() -> tuple[Path | None, str]:
    if jax.default_backend() == "cpu":
        return None, "compilation cache: none (on a CPU, give compilation_cache=DIRECTORY to have one)"
    # Users may share a cache of corpora, but not one of programs.
    path = default_cache_dir() / f"compiled-{os.geteuid()}"
    try:
        path = private_directory(path)
    except OSError as error:
        return None, f"compilation cache: none ({path} cannot be created: {error.strerror})"
    return path, f"compilation cache: {path}"


def _requested(option: str | None) -> tuple[Path | None, str]:
    if option in (None, "none"):
        return None, "compilation cache: none"
    if "://" in option:
        raise UserError(
            f"compilation_cache={option}: expected auto, none or a local directory. JAX_COMPILATION_CACHE_DIR takes "
            "more"
        )
    try:
        path = private_directory(Path(option))
    except OSError as error:
        raise UserError(
            f"compilation_cache={option} cannot be created: {error.strerror}. Give another directory"
        ) from error
    return path, f"compilation cache: {path}"


@contextlib.contextmanager
def _enabled(directory: Path | None) -> Iterator[None]:
    before, limit = _setting("jax_compilation_cache_dir"), _setting("jax_compilation_cache_max_size")
    _set(None if directory is None else str(directory), _LIMIT_BYTES if limit == _UNLIMITED else limit)
    try:
        yield
    finally:
        _set(before, limit)


def _setting(name: str) -> Any:
    return getattr(jax.config, name)


def _set(directory: str | None, limit: int) -> None:
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_compilation_cache_max_size", limit)
    reset_cache()  # JAX reads both only at its first compilation
