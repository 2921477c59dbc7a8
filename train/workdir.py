"""A job's work directory: who may use it, what it holds, and what it remembers of earlier runs.

config.json     the request: job, config file, every leaf (identity leaves never change; see train.schema)
summary.json    what ran: versions, devices, commit, mesh, seconds by phase, per run and in total; "status"
metrics.jsonl   one object a line (train.metrics)
checkpoints/    training states (train.checkpoints); checkpoints.bad/ holds the ones set aside
model/          the result, written whole
lock            held by the process that runs
                (in a bucket: names the process that started last; train.mirror)
anything else   what the job derived before training, as tokenizer/
"""

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from etils import epath

from train import schema
from train.cli import Request
from train.errors import UserError
from train.mirror import Mirror, names_in, opened_mirror
from train.paths import WorkPath, remove_tree

FORMAT = 1
_OWN_NAMES = {"lock", "config.json", ".config.json.staged"}
_PACKAGES = ("flax-lite", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "tokenizers")


@dataclasses.dataclass(frozen=True)
class WorkDir:
    """An opened, locked work directory.

    Attributes:
      path: the directory; or this host's local copy of it, where it is in a bucket or kept by another host.
      request: what the user asked for this time.
      extended_from: the former total_steps where --extend raised it in this run, else None.
      finished: the job is complete as requested; nothing is left to do.
      shared: the directory that holds the checkpoints of all hosts; `path` if None.
      mirror: what copies `path` to the bucket, on the host that keeps a work directory there; else None.
    """

    path: Path
    request: Request
    extended_from: int | None = None
    finished: bool = False
    shared: WorkPath | None = None
    mirror: Mirror | None = None

    @property
    def model(self) -> Path:
        """Where the result is written."""
        return self.path / "model"

    @property
    def checkpoints(self) -> WorkPath:
        """Where the training states are."""
        return (self.shared or self.path) / "checkpoints"

    @property
    def profile(self) -> Path:
        """Where traces are written: by every host, or by the one that keeps a work directory in a bucket."""
        workdir = self.request.workdir
        return (workdir if isinstance(workdir, Path) else self.path) / "profile"

    @property
    def metrics(self) -> Path:
        """The metrics file."""
        return self.path / "metrics.jsonl"

    def read_summary(self) -> dict[str, Any]:
        """Returns summary.json, or {} where there is none that can be read."""
        return _read_json(self.path / "summary.json") or {}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replaces summary.json."""
        write_json(self.path / "summary.json", {"format": FORMAT, **summary})
        self.publish()

    def publish(self) -> None:
        """Copies what changed to the bucket where the directory is in one.

        Raises:
          RunError: another process has taken the directory over; or the bucket cannot be written.
        """
        if self.mirror is not None:
            self.mirror.publish()

    def is_ours(self) -> bool:
        """Whether no other process has taken the directory over, which only one in a bucket can be."""
        return self.mirror is None or self.mirror.is_ours()

    def address(self, path: Path) -> WorkPath:
        """Where people find a file of `path`."""
        return self.request.workdir / path.relative_to(self.path)


@contextlib.contextmanager
def open_workdir(request: Request, say: Callable[[str], None] = print) -> Iterator[WorkDir]:
    """Creates or reopens the request's work directory and holds its lock.

    Raises:
      UserError: it cannot be written, holds something else, is in use, is of a newer format, or was started with other
        identity leaves. Nothing in it is changed then.
    """
    path = request.workdir
    with _opened(path, lambda names: not names - _OWN_NAMES or "config.json" in names) as mirror:
        old = _read_config(path, request)
        if old and not _was_trained(path) and _differences(request, old):
            _forget(path)  # a first try that failed in setup does not bind the second to its mistake
            old = None
        extended_from = _check_identity(request, old) if old else None
        values = request.values
        if mirror is None:
            work = WorkDir(Path(path), request, extended_from)
        else:
            mirror.fetch()
            work = WorkDir(mirror.local, request, extended_from, shared=path, mirror=mirror)
        command = {"config_file": request.spec, "overrides": request.overrides}
        write_json(
            work.path / "config.json",
            {"format": FORMAT, "job": request.job, **command, "config": schema.nest(values)},
        )
        work.publish()
        summary = work.read_summary()
        at_end = summary.get("step") == values["total_steps"] or summary.get("ended_early")
        if summary.get("status") == "finished" and at_end and (path / "model").is_dir():
            say(f"{path} is complete: {summary['step']} steps, the model is in {path / 'model'}")
            work = dataclasses.replace(work, finished=True)
        yield work


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
    _require_ours(path, content, is_ours)
    with _lock(path):
        yield


def lock_holder(path: WorkPath) -> str:
    """Who holds, or last held, a directory's lock; "" where nobody ever did."""
    try:
        return (path / "lock").read_text().strip()
    except OSError:
        return ""


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole: a reader sees the old one or the new one."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    staged = path.with_name(f".{path.name}.staged")
    with staged.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


@contextlib.contextmanager
def staged_directory(target: Path) -> Iterator[Path]:
    """Yields a directory to fill; on a clean exit it takes the target's place, on any other it is removed."""
    staged, old = target.with_name(f".{target.name}.staged"), target.with_name(f".{target.name}.old")
    for leftover in (staged, old):
        shutil.rmtree(leftover, ignore_errors=True)
    staged.mkdir()
    try:
        yield staged
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    if target.exists():
        target.rename(old)
    staged.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def provenance() -> dict[str, Any]:
    """Returns what a number needs beside it: time, commit, versions, host and devices."""
    import jax

    device = jax.devices()[0]
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": sys.version.split()[0],
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "host": socket.gethostname(),
        "platform": device.platform,
        "device": device.device_kind,
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
    }


@contextlib.contextmanager
def _opened(path: WorkPath, is_ours: Callable[[set[str]], bool]) -> Iterator[Mirror | None]:
    """As `open_directory`; in a bucket, yields its mirror."""
    if isinstance(path, epath.Path):
        _require_ours(path, names_in(path), is_ours)
        with opened_mirror(path) as mirror:
            yield mirror
    else:
        with open_directory(path, is_ours):
            yield None


def _require_ours(path: WorkPath, content: set[str], is_ours: Callable[[set[str]], bool]) -> None:
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


def _read_config(path: WorkPath, request: Request) -> dict[str, Any] | None:
    file = path / "config.json"
    if not file.exists():
        return None
    fresh = request.command(workdir=fresh_path(path))
    old = _read_json(file)
    if old is None or "config" not in old:
        raise UserError(f"{file} cannot be read, so {path} cannot be continued. Start afresh:\n  {fresh}")
    if old.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {old.get('format')}, this version reads {FORMAT}. "
            f"Use the version that wrote it, or start afresh:\n  {fresh}"
        )
    if old.get("job") != request.job:
        raise UserError(f"{path} belongs to train.{old.get('job')}, not train.{request.job}. Afresh:\n  {fresh}")
    return old


def _check_identity(request: Request, old: Mapping[str, Any]) -> int | None:
    """Returns the former total_steps where it may and does grow."""
    changed = _differences(request, old)
    grown = None
    if set(changed) == {"total_steps"}:
        before, now = changed["total_steps"]
        if now > before and request.extend:
            return before
        grown = (before, now) if now > before else None
    if not changed:
        return None
    lines = [f"  {path}: {before!r} -> {now!r}" for path, (before, now) in changed.items()]
    message = [f"{request.workdir} was started with other values; continuing it would mix two experiments:", *lines]
    if grown:
        message += ["To train this one for longer:", f"  {request.command(extend=True)}"]
    message += ["To start afresh:", f"  {request.command(workdir=fresh_path(request.workdir))}"]
    raise UserError("\n".join(message))


def _differences(request: Request, old: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return schema.differences(request.leaves, schema.flatten(old["config"]), request.values)


def _was_trained(path: WorkPath) -> bool:
    metrics = path / "metrics.jsonl"
    kept = any(any((path / name).glob("*")) for name in ("checkpoints", "checkpoints.bad", "model"))
    return kept or (metrics.exists() and bool(metrics.read_bytes()))


def _forget(path: WorkPath) -> None:
    for entry in path.iterdir():
        if entry.is_dir():
            remove_tree(entry)
        elif entry.name != "lock":
            entry.unlink()


def fresh_path(path: WorkPath) -> WorkPath:
    """Returns a sibling that does not exist yet, to suggest as a work directory: runs/x-2."""
    number = 2
    while path.with_name(f"{path.name}-{number}").exists():
        number += 1
    return path.with_name(f"{path.name}-{number}")


def _read_json(path: WorkPath) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, with "+" where files differ from it; None outside git."""
    root = Path(__file__).resolve().parents[1]
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if status.strip() else "")
