"""The work directory of a job: its lock, its files, and the checks against the request of earlier runs.

config.json     the request: job, config file and options (options fixed on resume never change: train.options.schema;
                options added to the program after the run started are absent); "format", the version of this layout
                (flax_lite.checkpoints.sources.work_directory)
summary.json    versions, devices, commit, mesh and seconds by phase, per run and in total; "status"
metrics.jsonl   one JSON object per line (train.run.metrics)
checkpoints/    train states (train.run.checkpoints); bad ones are moved to checkpoints.bad/
model/          the result, written atomically
lock            held by the running process (in a bucket: names the process that started last; train.run.mirror)
other entries   files that the job derives before training, such as tokenizer/
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

# The files left by a start that was interrupted before config.json was complete.
_INITIAL_NAMES = {"lock", "config.json", ".config.json.staged"}
# The version of how random keys derive from the seed. In 1, the initial parameters reused keys of the first steps'
# dropout; since 2 they have separate streams (`train.jobs.build.initial_rngs`).
STREAMS = 2
# Returns the fingerprints of the inputs a request would read, under the names of a job's `fingerprints`.
Inputs = Callable[[Request], Mapping[str, str]]
# Options that locate text. They may change on resume if the text's fingerprint does not.
_TEXT_LOCATIONS = {"data.source", "data.eval_source", "data.mixture"}


@dataclasses.dataclass(frozen=True)
class WorkDir:
    """An opened, locked work directory.

    Attributes:
      path: the directory, or this host's local copy if the directory is in a bucket or belongs to another host.
      request: the current request.
      extended_from: the previous total_steps if --extend raised it in this run, else None.
      patient_from: the step at which the run had ended early before it was extended, else 0.
      streams: the version of random key derivation (STREAMS) when the run was first started.
      finished: whether the job is complete as requested.
      shared: the directory with the checkpoints of all hosts; None: `path`.
      mirror: copies `path` to the bucket, on host 0 of a work directory in a bucket; else None.
      newer_options: options added to the program after the run was first started; it continues without them.
    """

    path: Path
    request: Request
    extended_from: int | None = None
    patient_from: int = 0
    finished: bool = False
    streams: int = STREAMS
    shared: WorkPath | None = None
    mirror: Mirror | None = None
    newer_options: tuple[str, ...] = ()

    @property
    def model(self) -> Path:
        """The directory of the result."""
        return self.path / "model"

    @property
    def checkpoints(self) -> WorkPath:
        """The directory of the checkpoints."""
        return (self.shared or self.path) / "checkpoints"

    @property
    def profile(self) -> Path:
        """The directory of profiler traces: shared by all hosts, or local for a work directory in a bucket."""
        workdir = self.request.workdir
        return (workdir if isinstance(workdir, Path) else self.path) / "profile"

    @property
    def metrics(self) -> Path:
        """The path of metrics.jsonl."""
        return self.path / "metrics.jsonl"

    def read_summary(self) -> dict[str, Any]:
        """Returns the contents of summary.json, or {} if it cannot be read."""
        return _read_json(self.path / "summary.json") or {}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replaces summary.json."""
        write_json(self.path / "summary.json", {"format": FORMAT, **summary})
        self.publish()

    def publish(self) -> None:
        """Copies changed files to the bucket, if the work directory is in one.

        Raises:
          RunError: another process has taken over the directory, or the bucket cannot be written.
        """
        if self.mirror is not None:
            self.mirror.publish()

    def is_ours(self) -> bool:
        """Whether no other process has taken over the directory, which is possible only in a bucket."""
        return self.mirror is None or self.mirror.is_ours()

    def address(self, path: Path) -> WorkPath:
        """Returns the path for users of a file below `path`."""
        return self.request.workdir / path.relative_to(self.path)


@contextlib.contextmanager
def open_workdir(
    request: Request, log: Callable[[str], None] = print, inputs: Inputs | None = None
) -> Iterator[WorkDir]:
    """Creates or reopens the request's work directory and holds its lock.

    Args:
      request: the request.
      log: prints a line.
      inputs: returns the fingerprints of the inputs, to compare with those of a complete job or of moved text.

    Raises:
      UserError: the directory cannot be written, holds something else, is in use, has a newer format, was started with
        other values of options fixed on resume, or is complete for other inputs. It is then left unchanged.
    """
    path = request.workdir
    with _opened(path, lambda names: not names - _INITIAL_NAMES or "config.json" in names) as mirror:
        old = _read_config(path, request)
        summary = _read_json(path / "summary.json") or {}
        if old and _was_trained(path):
            request = request.with_values(_derived_options(request, old))
        elif old and _differences(request, old):
            _clear(path)  # the first attempt failed in setup, so its options do not bind this one
            old, summary = None, {}
        newer, requested = _newer_options(request, old) if old else (), request.values
        request = _without(request, newer)
        extended_from = _check_fixed_options(request, old, summary, log, inputs) if old else None
        if dropped := [f"{option}={requested[option]}" for option in newer if requested[option] is not None]:
            log(f"{path} was started before these options existed and continues without them: {', '.join(dropped)}")
        early = int(summary["step"]) if _ended_early(summary) else 0
        patient_from = (early if extended_from is not None else 0) or int((old or {}).get("patient_from", 0))
        finished = extended_from is None and _is_complete(request, summary)
        if finished:
            _check_inputs(request, summary, inputs)
        streams = int(old.get("streams", 1)) if old and _was_trained(path) else STREAMS
        state = (request, extended_from, patient_from, finished, streams)
        if mirror is None:
            work = WorkDir(Path(path), *state, newer_options=newer)
        else:
            mirror.fetch()
            work = WorkDir(mirror.local, *state, shared=path, mirror=mirror, newer_options=newer)
        command = {"config_file": request.spec, "overrides": request.overrides}
        kept = {"derived": sorted(request.derived), "patient_from": patient_from, "streams": streams}
        values = schema.nest({option: value for option, value in request.values.items() if option not in newer})
        write_json(
            work.path / "config.json", {"format": FORMAT, "job": request.job, **command, **kept, "config": values}
        )
        work.publish()
        if finished:
            end = f" (ended early; {request.config.total_steps} were requested)" * bool(early)
            log(f"{path} is complete: {summary['step']} steps{end}, the model is in {path / 'model'}")
        yield work


def _is_complete(request: Request, summary: Mapping[str, Any]) -> bool:
    total = request.config.total_steps
    at_end = summary.get("step") == total or (_ended_early(summary) and summary.get("ended_early_of", total) == total)
    return summary.get("status") == "finished" and at_end and (request.workdir / "model").is_dir()


def _ended_early(summary: Mapping[str, Any]) -> bool:
    return summary.get("status") == "finished" and bool(summary.get("ended_early"))


def _derived_options(request: Request, old: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the run's values of derived options, which may depend on total_steps or the number of rows."""
    former = schema.flatten(old["config"])
    was_derived = {path: path in old.get("derived", ()) for path in request.derived}
    was_derived |= {path: True for path, of in request.derived.items() if path in former and former[path] == of(former)}
    return {path: former[path] for path, derived in was_derived.items() if derived and path in former}


def _known_inputs(request: Request, summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the fingerprints of a run's inputs, from its summary or else from its newest checkpoint."""
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
    """Returns {name: (before, now)} for the inputs of a run that differ from those the request would read."""
    known = _known_inputs(request, summary)
    now = inputs(request) if inputs is not None and known else {}
    return {name: (known[name], value) for name, value in now.items() if name in known and known[name] != value}


def _check_inputs(request: Request, summary: Mapping[str, Any], inputs: Inputs | None) -> None:
    """Raises UserError if a complete run has read other inputs than the request would."""
    if other := _other_inputs(request, summary, inputs):
        lines = [f"  {name}: {before} -> {now}" for name, (before, now) in other.items()]
        message = [f"{request.workdir} is complete, but for other inputs than this command would read:", *lines]
        message += ["Its model was trained on the former. To train on the latter, start a new run:"]
        raise UserError("\n".join([*message, f"  {request.command(workdir=fresh_path(request.workdir))}"]))


@contextlib.contextmanager
def _opened(path: WorkPath, is_ours: Callable[[set[str]], bool]) -> Iterator[Mirror | None]:
    """Opens the directory as `open_directory`; for a directory in a bucket, yields its mirror."""
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
        raise UserError(f"{file} cannot be read, so {path} cannot be continued. Start a new run:\n  {fresh}")
    if old.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {old.get('format')}, this version reads {FORMAT}. "
            f"Use the version that wrote it, or start a new run:\n  {fresh}"
        )
    if old.get("job") != request.job:
        raise UserError(
            f"{path} belongs to train.{old.get('job')}, not train.{request.job}. Start a new run:\n  {fresh}"
        )
    return old


def _check_fixed_options(
    request: Request,
    old: Mapping[str, Any],
    summary: Mapping[str, Any],
    log: Callable[[str], None],
    inputs: Inputs | None,
) -> int | None:
    """Raises UserError if an option fixed on resume has changed; returns total_steps before --extend, or None."""
    changed = _differences(request, old)
    raised = None
    moved = {path: changed[path] for path in changed.keys() & _TEXT_LOCATIONS}
    if moved and _is_same_text(request, summary, inputs):
        for path, (before, now) in moved.items():
            del changed[path]
            log(f"{path}: {before!r} -> {now!r} is the same text at another path")
    if set(changed) == {"total_steps"}:
        before, now = changed["total_steps"]
        if now > before and request.extend:
            return before
        raised = (before, now) if now > before else None
    if not changed:
        return None
    lines = [f"  {path}: {before!r} -> {now!r}" for path, (before, now) in changed.items()]
    message = [f"{request.workdir} was started with other options; continuing it would mix two experiments:", *lines]
    if raised:
        message += ["To train this run for longer:", f"  {request.command(extend=True)}"]
    message += ["To start a new run:", f"  {request.command(workdir=fresh_path(request.workdir))}"]
    raise UserError("\n".join(message))


def _is_same_text(request: Request, summary: Mapping[str, Any], inputs: Inputs | None) -> bool:
    known = _known_inputs(request, summary).get("data")
    return known is not None and inputs is not None and inputs(request).get("data") == known


def _differences(request: Request, old: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return schema.differences(request.options, schema.flatten(old["config"]), request.values)


def _newer_options(request: Request, old: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the implied options that did not exist when the run was first started."""
    known = schema.flatten(old["config"])
    return tuple(
        option.path
        for option in request.options
        if option.on_resume == "fixed" and option.implied and option.path not in known
    )


def _without(request: Request, newer_options: Iterable[str]) -> Request:
    """Returns the request with these options set to None, except for those given on the command line."""
    return request.with_values(dict.fromkeys(path for path in newer_options if path not in request.overrides))


def _was_trained(path: WorkPath) -> bool:
    metrics = path / "metrics.jsonl"
    kept = any(any((path / name).glob("*")) for name in ("checkpoints", "checkpoints.bad", "model"))
    return kept or (metrics.exists() and bool(metrics.read_bytes()))


def _clear(path: WorkPath) -> None:
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
    """Returns the path of the tokenizer of the run that the request resumes; None without such a run, or in a bucket.

    An attempt that failed in setup does not count as a run: see `open_workdir`.
    """
    path = request.workdir
    return path / _TOKENIZER if isinstance(path, Path) and _was_trained(path) else None


@contextlib.contextmanager
def open_on_all_hosts(request: Request, inputs: Inputs | None = None) -> Iterator[WorkDir]:
    """Opens the request's work directory on every host.

    Host 0 opens it with `open_workdir`. The others get a temporary directory with a copy of an earlier run's tokenizer;
    the checkpoints are shared and written by all.

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
        shared, names = None, ("extended_from", "patient_from", "finished", "streams", "newer_options")
        if work is not None:
            kept = {path: work.request.values[path] for path in request.derived}
            state = {name: getattr(work, name) for name in names}
            shared = {"holder": lock_holder(request.workdir), "kept": kept, "state": state}
        shared = hosts.broadcast_from_host0("the work directory", shared)
        with hosts.sync_errors("finding the work directory"):
            if work is None:
                request = _without(request.with_values(shared["kept"]), shared["state"]["newer_options"])
                work = stack.enter_context(_temporary_workdir(request, shared["holder"]))
                work = dataclasses.replace(work, **shared["state"])
        yield work


@contextlib.contextmanager
def _temporary_workdir(request: Request, holder: str) -> Iterator[WorkDir]:
    if lock_holder(request.workdir) != holder:
        raise UserError(
            f"--workdir {request.workdir} is not the one that host 0 has opened. All hosts need the same one, on a "
            "disk that all of them mount or on gs://"
        )
    with tempfile.TemporaryDirectory(prefix="flax_lite-") as folder:
        copy_tree(request.workdir / _TOKENIZER, Path(folder) / _TOKENIZER)
        yield WorkDir(Path(folder), request, shared=request.workdir)
