"""Compiled programs that are kept on disk, so that a job which starts again need not compile them again."""

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

# Room for some hundred programs of tens of megabytes. With a limit JAX also locks the directory; without one, jobs that
# start together read each other's half-written files.
_LIMIT_BYTES = 8 * 2**30
_UNLIMITED = -1
# JAX's own (jax._src.lru_cache): a process that holds it is writing a program just now.
_LOCK, _LOCK_SECONDS = ".lockfile", 10


@contextlib.contextmanager
def compilation_cache(option: str | None) -> Iterator[str]:
    """Keeps compiled programs while it is entered; yields a line that says where.

    Args:
      option: "auto": where JAX_COMPILATION_CACHE_DIR says, else in the user's cache, but on a CPU nowhere: programs are
        made for the very machine there, and one from another machine, or another release, may crash. None or "none":
        nowhere.
        Anything else: in this directory.

    Raises:
      UserError: the directory cannot be made, or others may write to it: what is in it is run.
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
        with _in_force(directory):
            yield line


def private_directory(path: Path) -> Path:
    """Makes a directory that the user alone may enter, or takes one that the user alone may write to.

    Returns:
      Where it is, links resolved.

    Raises:
      OSError: it cannot be made.
      UserError: another user owns it, or may write to it.
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
        f"compiled programs are run, so they are not kept where others could put them: {path} {fault}. "
        "Or give another place (--config.compilation_cache=DIRECTORY), or none (--config.compilation_cache=none)"
    )


def drop_unfinished(directory: Path) -> None:
    """Removes the programs that a killed process has not written to their end.

    JAX 0.10 to 0.12 notes the time beside a program when all of it is there. One without it cannot be read, is never
    written again, and fails the search for room for any other: after one preemption nothing more would be kept.
    """
    # Where the lock cannot be had, by its timeout or on a disk that is only read, JAX cannot write either.
    with contextlib.suppress(OSError), filelock.FileLock(directory / _LOCK, timeout=_LOCK_SECONDS):
        for program in directory.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
                program.unlink()


def _automatic() -> tuple[Path | None, str]:
    if jax.default_backend() == "cpu":
        return None, "compilation cache: none (on a CPU, give compilation_cache=DIRECTORY to have one)"
    # Users may share a cache of corpora, but not of programs.
    path = default_cache_dir() / f"compiled-{os.geteuid()}"
    try:
        path = private_directory(path)
    except OSError as error:
        return None, f"compilation cache: none ({path} cannot be made: {error.strerror})"
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
            f"compilation_cache={option} cannot be made: {error.strerror}. Give another directory"
        ) from error
    return path, f"compilation cache: {path}"


@contextlib.contextmanager
def _in_force(directory: Path | None) -> Iterator[None]:
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
    reset_cache()  # JAX reads both at its first compilation, and not again
