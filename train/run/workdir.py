"""A job's work directory: who may use it, what it holds, and what it remembers of earlier runs.

config.json     the request: job, config file, every option (those fixed on resume never change; train.options.schema),
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

from flax_lite.checkpoints.formats.orbax_step import read_meta
from flax_lite.checkpoints.sources.work_directory import FORMAT, complete_steps
from train.errors import UserError
from train.machine import hosts
from train.machine.files import write_json
from train.machine.lock import lock_holder, open_directory, require_ours
from train.machine.paths import WorkPath, copy_tree, fresh_path, remove_tree
from train.options import schema
from train.options.request import Request
from train.run.mirror import Mirror, names_in, opened_mirror

_OWN_NAMES = {"lock", "config.json", ".config.json.staged"}
# What a seed means: in 1, a run's first parameters were drawn with keys that its first steps' dropout was drawn with
# again; from 2 on each has a stream of its own (`train.jobs.build.initial_rngs`).
STREAMS = 2
# Fingerprints of what a request would read, by the names that a job's `identity` has.
Inputs = Callable[[Request], Mapping[str, str]]
# Table that say where text is: what counts is what it holds, which its fingerprint says.
_PLACES = {"data.source", "data.eval_source", "data.mixture"}


@dataclasses.dataclass(frozen=True)
class WorkDir:
    """An opened, locked work directory.

    Attributes:
      path: the directory; or this host's local copy of it, where it is in a bucket or kept by another host.
      request: what the user asked for this time.
      extended_from: the former total_steps where --extend raised it in this run, else None.
      patient_from: the step at which the run had ended early and was extended; 0 where it was not.
      streams: what the seed means, as it did when the run began.
      finished: the job is complete as requested; nothing is left to do.
      shared: the directory that holds the checkpoints of all hosts; `path` if None.
      mirror: what copies `path` to the bucket, on the host that keeps a work directory there; else None.
      younger: options that came after the run began: it goes on without them.
    """

    path: Path
    request: Request
    extended_from: int | None = None
    patient_from: int = 0
    finished: bool = False
    streams: int = STREAMS
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
def open_workdir(
    request: Request, say: Callable[[str], None] = print, inputs: Inputs | None = None
) -> Iterator[WorkDir]:
    """Creates or reopens the request's work directory and holds its lock.

    Args:
      request: what is asked for.
      say: takes lines for a person.
      inputs: what the request would read, so that a complete job is held against it, and text may have been moved.

    Raises:
      UserError: it cannot be written, holds something else, is in use, is of a newer format, or was started with other
        options fixed on resume or is complete with other inputs. Nothing in it is changed then.
    """
    path = request.workdir
    with _opened(path, lambda names: not names - _OWN_NAMES or "config.json" in names) as mirror:
        old = _read_config(path, request)
        summary = _read_json(path / "summary.json") or {}
        if old and _was_trained(path):
            request = request.with_values(_kept(request, old))
        elif old and _differences(request, old):
            _forget(path)  # a first try that failed in setup does not bind the second to its mistake
            old, summary = None, {}
        younger, wanted = _younger(request, old) if old else (), request.values
        request = _without(request, younger)
        extended_from = _check_identity(request, old, summary, say, inputs) if old else None
        if without := [f"{option}={wanted[option]}" for option in younger if wanted[option] is not None]:
            say(f"{path} was begun before there was {', '.join(without)}: it goes on without")
        early = int(summary["step"]) if _ended_early(summary) else 0
        patient_from = (early if extended_from is not None else 0) or int((old or {}).get("patient_from", 0))
        finished = extended_from is None and _is_complete(request, summary)
        if finished:
            _check_inputs(request, summary, inputs)
        streams = int(old.get("streams", 1)) if old and _was_trained(path) else STREAMS
        state = (request, extended_from, patient_from, finished, streams)
        if mirror is None:
            work = WorkDir(Path(path), *state, younger=younger)
        else:
            mirror.fetch()
            work = WorkDir(mirror.local, *state, shared=path, mirror=mirror, younger=younger)
        command = {"config_file": request.spec, "overrides": request.overrides}
        kept = {"derived": sorted(request.derived), "patient_from": patient_from, "streams": streams}
        values = schema.nest({option: value for option, value in request.values.items() if option not in younger})
        write_json(
            work.path / "config.json", {"format": FORMAT, "job": request.job, **command, **kept, "config": values}
        )
        work.publish()
        if finished:
            end = f" (it ended early; {request.config.total_steps} were asked for)" * bool(early)
            say(f"{path} is complete: {summary['step']} steps{end}, the model is in {path / 'model'}")
        yield work


def _is_complete(request: Request, summary: Mapping[str, Any]) -> bool:
    total = request.config.total_steps
    at_end = summary.get("step") == total or (_ended_early(summary) and summary.get("ended_early_of", total) == total)
    return summary.get("status") == "finished" and at_end and (request.workdir / "model").is_dir()


def _ended_early(summary: Mapping[str, Any]) -> bool:
    return summary.get("status") == "finished" and bool(summary.get("ended_early"))


def _kept(request: Request, old: Mapping[str, Any]) -> dict[str, Any]:
    """The derived options as the run has them: with more steps or rows they would be others."""
    former = schema.flatten(old["config"])
    follows = {path: path in old.get("derived", ()) for path in request.derived}
    follows |= {path: True for path, of in request.derived.items() if path in former and former[path] == of(former)}
    return {path: former[path] for path, kept in follows.items() if kept and path in former}


def _known_inputs(request: Request, summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fingerprints of what a run has read; of one that was not noted in its summary, its newest checkpoint's."""
    if summary.get("inputs"):
        return summary["inputs"]
    if not isinstance(request.workdir, Path):
        return {}
    checkpoints = request.workdir / "checkpoints"
    try:
        return read_meta(checkpoints / str(complete_steps(checkpoints)[-1])).get("identity") or {}
    except (ValueError, OSError, LookupError):
        return {}


def _other_inputs(request: Request, summary: Mapping[str, Any], inputs: Inputs | None) -> dict[str, tuple[str, str]]:
    """{name: (before, now)} of what a run has read and the request would read otherwise."""
    known = _known_inputs(request, summary)
    now = inputs(request) if inputs is not None and known else {}
    return {name: (known[name], value) for name, value in now.items() if name in known and known[name] != value}


def _check_inputs(request: Request, summary: Mapping[str, Any], inputs: Inputs | None) -> None:
    """Raises UserError where a complete run has read something else than the request would."""
    if other := _other_inputs(request, summary, inputs):
        lines = [f"  {name}: {before} -> {now}" for name, (before, now) in other.items()]
        message = [f"{request.workdir} is complete, but of other inputs than this command would read:", *lines]
        message += ["Its model is of the former ones. To train on these, start afresh:"]
        raise UserError("\n".join([*message, f"  {request.command(workdir=fresh_path(request.workdir))}"]))


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


def _check_identity(
    request: Request,
    old: Mapping[str, Any],
    summary: Mapping[str, Any],
    say: Callable[[str], None],
    inputs: Inputs | None,
) -> int | None:
    """Returns the former total_steps where it may and does grow."""
    changed = _differences(request, old)
    grown = None
    moved = {path: changed[path] for path in changed.keys() & _PLACES}
    if moved and _is_same_text(request, summary, inputs):
        for path, (before, now) in moved.items():
            del changed[path]
            say(f"{path}: {before!r} -> {now!r} is the same text at another place")
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


def _is_same_text(request: Request, summary: Mapping[str, Any], inputs: Inputs | None) -> bool:
    known = _known_inputs(request, summary).get("data")
    return known is not None and inputs is not None and inputs(request).get("data") == known


def _differences(request: Request, old: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return schema.differences(request.options, schema.flatten(old["config"]), request.values)


def _younger(request: Request, old: Mapping[str, Any]) -> tuple[str, ...]:
    """The implied options that the run knew nothing of when it began."""
    known = schema.flatten(old["config"])
    return tuple(
        option.path
        for option in request.options
        if option.on_resume == "fixed" and option.implied and option.path not in known
    )


def _without(request: Request, younger: Iterable[str]) -> Request:
    """The request as it was before there were some options, where the command line does not give them."""
    return request.with_values(dict.fromkeys(path for path in younger if path not in request.overrides))


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
def open_everywhere(request: Request, inputs: Inputs | None = None) -> Iterator[WorkDir]:
    """Opens the request's work directory on every host.

    On host 0 as `train.run.workdir.open_workdir` does. The others get a directory that is thrown away, with the
    tokenizer that an earlier run kept; the checkpoints are the common ones, which all write.

    Raises:
      UserError: as `open_workdir`; or another host does not see the directory that host 0 has opened.
    """
    if hosts.count() == 1:
        with open_workdir(request, inputs=inputs) as work:
            yield work
        return
    with contextlib.ExitStack() as stack:
        work = None
        with hosts.sync_errors("opening the work directory"):
            if hosts.is_first():
                work = stack.enter_context(open_workdir(request, inputs=inputs))
        told, names = None, ("extended_from", "patient_from", "finished", "streams", "younger")
        if work is not None:
            kept = {path: work.request.values[path] for path in request.derived}
            state = {name: getattr(work, name) for name in names}
            told = {"holder": lock_holder(request.workdir), "kept": kept, "state": state}
        told = hosts.broadcast_from_host0("the work directory", told)
        with hosts.sync_errors("seeing the work directory"):
            if work is None:
                asked = _without(request.with_values(told["kept"]), told["state"]["younger"])
                work = stack.enter_context(_copied(asked, told["holder"]))
                work = dataclasses.replace(work, **told["state"])
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
