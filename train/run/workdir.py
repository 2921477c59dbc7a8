"""A job's work directory: who may use it, what it holds, and what it remembers of earlier runs.

config.json     the request: job, config file, every leaf (identity leaves never change; see train.options.schema),
                but for the options that came after the run began;
                "format", the version of this layout (flax_lite.checkpoints.sources.work_directory)
summary.json    what ran: versions, devices, commit, mesh, seconds by phase, per run and in total; "status"
metrics.jsonl   one object a line (train.run.metrics)
checkpoints/    training states (train.run.checkpoints); checkpoints.bad/ holds the ones set aside
model/          the result, written whole
lock            held by the process that runs
                (in a bucket: names the process that started last; train.run.mirror)
anything else   what the job derived before training, as tokenizer/
"""

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from etils import epath
from ml_collections import config_dict

from flax_lite.checkpoints.sources.work_directory import FORMAT
from train.errors import UserError
from train.machine import hosts
from train.machine.files import write_json
from train.machine.lock import lock_holder, open_directory, require_ours
from train.machine.paths import WorkPath, copy_tree, fresh_path, remove_tree
from train.options import schema
from train.options.request import Request
from train.run.mirror import Mirror, names_in, opened_mirror

_OWN_NAMES = {"lock", "config.json", ".config.json.staged"}


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
      younger: options that came after the run began: it goes on without them.
    """

    path: Path
    request: Request
    extended_from: int | None = None
    finished: bool = False
    shared: WorkPath | None = None
    mirror: Mirror | None = None
    younger: tuple[str, ...] = ()

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
        younger, wanted = _younger(request, old) if old else (), request.values
        request = _without(request, younger)
        extended_from = _check_identity(request, old) if old else None
        if without := [f"{leaf}={wanted[leaf]}" for leaf in younger if wanted[leaf] is not None]:
            say(f"{path} was begun before there was {', '.join(without)}: it goes on without")
        values = request.values
        if mirror is None:
            work = WorkDir(Path(path), request, extended_from, younger=younger)
        else:
            mirror.fetch()
            work = WorkDir(mirror.local, request, extended_from, shared=path, mirror=mirror, younger=younger)
        command = {"config_file": request.spec, "overrides": request.overrides}
        kept = schema.nest({leaf: value for leaf, value in values.items() if leaf not in younger})
        write_json(work.path / "config.json", {"format": FORMAT, "job": request.job, **command, "config": kept})
        work.publish()
        summary = work.read_summary()
        at_end = summary.get("step") == values["total_steps"] or summary.get("ended_early")
        if summary.get("status") == "finished" and at_end and (path / "model").is_dir():
            say(f"{path} is complete: {summary['step']} steps, the model is in {path / 'model'}")
            work = dataclasses.replace(work, finished=True)
        yield work


@contextlib.contextmanager
def _opened(path: WorkPath, is_ours: Callable[[set[str]], bool]) -> Iterator[Mirror | None]:
    """As `open_directory`; in a bucket, yields its mirror."""
    if isinstance(path, epath.Path):
        require_ours(path, names_in(path), is_ours)
        with opened_mirror(path) as mirror:
            yield mirror
    else:
        with open_directory(path, is_ours):
            yield None


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


def _younger(request: Request, old: Mapping[str, Any]) -> tuple[str, ...]:
    """The implied options that the run knew nothing of when it began."""
    known = schema.flatten(old["config"])
    return tuple(
        leaf.path for leaf in request.leaves if leaf.kind == "identity" and leaf.implied and leaf.path not in known
    )


def _without(request: Request, younger: Iterable[str]) -> Request:
    """The request as it was before there were some options, where the command line does not give them."""
    values = request.values | dict.fromkeys(path for path in younger if path not in request.overrides)
    return dataclasses.replace(request, config=config_dict.FrozenConfigDict(schema.nest(values)))


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


def _read_json(path: WorkPath) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


_TOKENIZER = "tokenizer"


def kept_tokenizer(request: Request) -> Path | None:
    """The tokenizer of a run that the request goes on with; None where there is no such run, or it is not at hand.

    A first try that failed in setup is no run: see `open_workdir`.
    """
    path = request.workdir
    return path / _TOKENIZER if isinstance(path, Path) and _was_trained(path) else None


@contextlib.contextmanager
def open_everywhere(request: Request) -> Iterator[WorkDir]:
    """Opens the request's work directory on every host.

    On host 0 as `train.run.workdir.open_workdir` does. The others get a directory that is thrown away, with the
    tokenizer that an earlier run kept; the checkpoints are the common ones, which all write.

    Raises:
      UserError: as `open_workdir`; or another host does not see the directory that host 0 has opened.
    """
    if hosts.count() == 1:
        with open_workdir(request) as work:
            yield work
        return
    with contextlib.ExitStack() as stack:
        work = None
        with hosts.together("opening the work directory"):
            if hosts.is_first():
                work = stack.enter_context(open_workdir(request))
        names = ("extended_from", "finished", "younger")
        told = {"holder": lock_holder(request.workdir)} if work else None
        told = hosts.from_first("the work directory", told and told | {name: getattr(work, name) for name in names})
        with hosts.together("seeing the work directory"):
            if work is None:
                work = stack.enter_context(_copied(_without(request, told["younger"]), told["holder"]))
                work = dataclasses.replace(work, **{name: told[name] for name in names})
        yield work


@contextlib.contextmanager
def _copied(request: Request, holder: str) -> Iterator[WorkDir]:
    if lock_holder(request.workdir) != holder:
        raise UserError(
            f"--workdir {request.workdir} is not the one that host 0 has opened. Hosts need a common one: a disk that "
            "all of them mount, or gs://"
        )
    with tempfile.TemporaryDirectory(prefix="flax_lite-") as folder:
        copy_tree(request.workdir / _TOKENIZER, Path(folder) / _TOKENIZER)
        yield WorkDir(Path(folder), request, shared=request.workdir)
