"""The one command line in front of every job.

    python -m train.JOB --config FILE[:VARIANT] [--workdir DIR] [--config.KEY=VALUE ...] [--print_config] [--extend]
                        [--dry_run [--target v5e:2x4]] [--coordinator HOST:PORT --num_processes N --process_id I]

Exit status: 0 done or already complete; 2 the user's mistake (one message, no traceback); 75 interrupted and saved; 1 a
defect (with a traceback) or a run that failed (one message).

absl reads the flags and ml_collections holds the config; everything they leave rough (unknown keys, stray words, leaves
that default to nothing, --help) is smoothed here, from the job's table of leaves.
"""

import dataclasses
import errno
import json
import os
import shlex
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import config_dict

from train import schema
from train.config_files import LoadedConfig, config_files, load_config
from train.errors import JobError, StopError, UserError
from train.interrupt import Guard
from train.leaves import JOB_LEAVES
from train.paths import WorkPath, work_path

if TYPE_CHECKING:
    from train.plan.rehearsal import Rehearsal

Leaves = Sequence[schema.Leaf]

_HOST_FLAGS = ("coordinator", "num_processes", "process_id")
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for, resolved and checked.

    Attributes:
      job: name of the job, the X of `python -m train.X`.
      leaves: the job's table.
      config: every leaf's value, as a FrozenConfigDict: request.config.data.source.
      spec: the config as given, FILE or FILE:VARIANT.
      workdir: the work directory, on a local disk or in a bucket.
      overrides: the --config.KEY=VALUE given, as text.
      extend: more total_steps than the work directory's are wanted.
      dry_run: only a plan is wanted: what the run would take.
      target: the devices to plan for, by name; those that are present if None.
      coordinator: HOST:PORT of process 0 of several; None: as the environment says.
      num_processes: how many run the job together.
      process_id: which of them this is.
      guard: tells when a signal asked the job to stop.
    """

    job: str
    leaves: tuple[schema.Leaf, ...]
    config: Any
    spec: str
    workdir: WorkPath
    overrides: dict[str, str] = dataclasses.field(default_factory=dict)
    extend: bool = False
    dry_run: bool = False
    target: str | None = None
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    guard: Guard = dataclasses.field(default_factory=Guard, compare=False)

    @property
    def values(self) -> dict[str, Any]:
        """{dotted path: value} of every leaf."""
        return schema.flatten(self.config.to_dict())

    @property
    def local_workdir(self) -> Path:
        """The work directory of a job that knows no other than a local one.

        Raises:
          UserError: it is in a bucket.
        """
        if isinstance(self.workdir, Path):
            return self.workdir
        several = "several seeds need" if self.values.get("seeds", 1) > 1 else f"train.{self.job} needs"
        raise UserError(f"--workdir {self.workdir}: {several} a directory on a local disk")

    def command(self, workdir: WorkPath | None = None, extend: bool | None = None, **changes: str) -> str:
        """Returns this request as a command to paste, with some parts changed (`total_steps="200"`)."""
        arguments = self.arguments(workdir, self.extend if extend is None else extend, changes)
        return shlex.join(["python", "-m", f"train.{self.job}", *arguments])

    def arguments(
        self, workdir: WorkPath | None = None, extend: bool = False, changes: Mapping[str, str] | None = None
    ) -> list[str]:
        """The words of that command behind the job's name."""
        parts = ["--config", self.spec, "--workdir", str(workdir or self.workdir)]
        parts += [f"--config.{path}={text}" for path, text in (self.overrides | dict(changes or {})).items()]
        return [*parts, "--extend"] if extend else parts


def main(
    job: str,
    leaves: Leaves | Mapping[str, Leaves],
    run: Callable[[Request], None],
    argv: Sequence[str] | None = None,
    help_config: str = "configs/albert_tiny.py",
    rehearsal: "Callable[[Request], Rehearsal] | None" = None,
    joins: bool = False,
) -> int:
    """Runs one job from its command line.

    Args:
      job: the job's name, for messages.
      leaves: its table; or, of a command that serves several jobs, their tables by name: the config says which.
      run: carries a request out.
      argv: the words after the program's name; `sys.argv[1:]` when None.
      help_config: the config whose defaults --help shows when none is given.
      rehearsal: how the job is put together for --dry_run; None: there is no such option.
      joins: whether the processes of several hosts run it together.

    Returns:
      The exit status. The process ends here instead where other hosts go on without this one.
    """
    # Grain 0.2.18 asks for a flag of absl's global table in its worker pool and fails where nobody parsed that table.
    flags.FLAGS.mark_as_parsed()
    request, error, joined = None, None, False
    status: int | None = 0
    try:
        with Guard(ends_process=argv is None) as guard:
            words = sys.argv[1:] if argv is None else argv
            request = parse(job, leaves, words, guard, help_config, plans=rehearsal is not None, joins=joins)
            if request is not None and request.dry_run and rehearsal is not None:
                from train.plan.report import print_plan

                print_plan(rehearsal(request), request.target)
            elif request is not None:
                joined = joins and _join(request)
                run(request)
    except Exception as raised:
        error = raised
        status = _expected_end(job, request, error, joined)
        if status is None:
            if not joined:
                raise
            traceback.print_exc()
            status = JobError.status
    if joined:
        from train import hosts

        hosts.leave(status, error)
    return status


def _join(request: Request) -> bool:
    """Joins the other hosts, if there are any; returns whether there are."""
    from train import build, hosts

    build.apply_xla_flags(request.values)  # XLA reads them once, and hosts that join are asked for their devices
    settings = request.config.hosts.to_dict()
    hosts.join(request.coordinator, request.num_processes, request.process_id, **settings)
    return hosts.is_joined()


def _expected_end(job: str, request: Request | None, error: Exception, joined: bool) -> int | None:
    """Says why a command ended early and returns its status; None for a defect."""
    if joined:
        from train import hosts

        if hosts.lost_another(error):
            message = f"another host is gone ({str(error).partition(chr(10))[0]}). The last checkpoint stands; the same"
            return _end(job, f"{message} command continues from it", StopError.status, joined)
    if isinstance(error, JobError):
        return _end(job, str(error), error.status, joined)
    if isinstance(error, BrokenPipeError) and request is None:  # a run must not end without a word
        # Who read the output has seen enough (`--help | head`). Nothing may be written on the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return JobError.status
    if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
        return _end(job, f"{error}. Make room there, then the same command continues", JobError.status, joined)
    return None


def _end(job: str, message: str, status: int, joined: bool) -> int:
    who = job
    if joined:
        from train import hosts

        who = f"{job}, {hosts.name()}"
    sys.stdout.flush()
    print(f"{who}: {message}", file=sys.stderr, flush=True)
    return status


def parse(
    job: str,
    leaves: Leaves | Mapping[str, Leaves],
    argv: Sequence[str],
    guard: Guard,
    help_config: str = "",
    plans: bool = False,
    joins: bool = False,
) -> Request | None:
    """Reads a command line; prints and returns None for --help and --print_config.

    Args:
      job: as `main` has it, and so `leaves`, `help_config` and `joins`.
      leaves: the table, or tables.
      argv: the words.
      guard: of the request.
      help_config: for --help.
      plans: whether it takes --dry_run.
      joins: whether it takes --coordinator.

    Raises:
      UserError: something on it is not understood.
    """
    leaves = tuple(_table(job, leaves, argv, help_config) if isinstance(leaves, Mapping) else leaves)
    given = _flag_values(leaves, plans, joins)
    _read_flags(given, job, leaves, argv)
    if given["help"].value:
        print(_help(job, leaves, given["config"].value or help_config, plans, joins))
        return None
    workdir = work_path(given["workdir"].value or "")
    spec = given["config"].value
    if spec is None:
        raise UserError(f"--config is missing. Give one of: {', '.join(config_files())}\n(--help lists every option)")
    loaded = load_config(spec)
    _check_job(job, loaded)
    values = schema.validate(leaves, loaded.values, str(loaded.path))
    changed = [leaf.path for leaf in leaves if given[f"config.{leaf.path}"].present]
    values |= {path: given[f"config.{path}"].value for path in changed}
    if given["print_config"].value:
        print(json.dumps(schema.nest(values), indent=2))
        return None
    return Request(
        job=job,
        leaves=leaves,
        config=config_dict.FrozenConfigDict(schema.nest(values)),
        spec=spec,
        workdir=workdir if given["workdir"].value else Path(f"runs/{loaded.name}"),
        overrides={path: _text(values[path]) for path in changed},
        extend=bool(given["extend"].value),
        **_plan(given, plans),
        **_hosts(given, joins),
        guard=guard,
    )


def _table(job: str, tables: Mapping[str, Leaves], argv: Sequence[str], help_config: str) -> Leaves:
    """The table of the config on a command line, found before its options are read: they are in it."""
    spec = ""
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name == "config":
            spec = value if equals else following
    loaded = load_config(spec or help_config)
    if loaded.table not in tables:
        raise _another_job(job, loaded)
    return tables[loaded.table]


def _check_job(job: str, loaded: LoadedConfig) -> None:
    if job in JOB_LEAVES and loaded.job != job:
        raise _another_job(job, loaded)


def _another_job(job: str, loaded: LoadedConfig) -> UserError:
    return UserError(
        f"{loaded.path} is no config for train.{job}, but for: python -m train.{loaded.job} --config {loaded.path}"
    )


class _LeafParser(flags.ArgumentParser):
    """Lets absl read a leaf's text; booleans too take a value, so that `--config.plot false` is not a stray word."""

    def __init__(self, leaf: schema.Leaf) -> None:
        self.leaf = leaf

    def parse(self, argument: Any) -> Any:
        return schema.parse(self.leaf, str(argument))

    def flag_type(self) -> str:
        return "leaf"


def _plan(given: flags.FlagValues, plans: bool) -> dict[str, Any]:
    if not plans:
        return {}
    if given["target"].present and not given["dry_run"].value:
        raise UserError("--target is what --dry_run plans for: give both, or neither")
    return {name: given[name].value for name in ("dry_run", "target")}


def _hosts(given: flags.FlagValues, joins: bool) -> dict[str, Any]:
    return {name: given[name].value for name in _HOST_FLAGS} if joins else {}


def _flag_values(leaves: Sequence[schema.Leaf], plans: bool, joins: bool) -> flags.FlagValues:
    """A flag table of this command line alone: libraries' flags in absl's global table are not ours to offer."""
    given = flags.FlagValues()
    given.set_gnu_getopt(True)  # read on behind a stray word, so that every fault comes out
    flags.DEFINE_string("config", None, "config file, with its variant", flag_values=given)
    flags.DEFINE_string("workdir", None, "work directory", flag_values=given)
    flags.DEFINE_bool("print_config", False, "print the resolved config and stop", flag_values=given)
    flags.DEFINE_bool("extend", False, "allow more total_steps than before", flag_values=given)
    if plans:
        flags.DEFINE_bool("dry_run", False, "print what the run would take and stop", flag_values=given)
        flags.DEFINE_string("target", None, "devices to plan for", flag_values=given)
    if joins:
        flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0", flag_values=given)
        flags.DEFINE_integer("num_processes", None, "processes of this job", lower_bound=1, flag_values=given)
        flags.DEFINE_integer("process_id", None, "which of them this is", lower_bound=0, flag_values=given)
    flags.DEFINE_bool("help", False, "print the options and stop", flag_values=given, short_name="h")
    for leaf in leaves:
        flags.DEFINE(_LeafParser(leaf), f"config.{leaf.path}", None, leaf.doc, flag_values=given)
    return given


def _read_flags(given: flags.FlagValues, job: str, leaves: Sequence[schema.Leaf], argv: Sequence[str]) -> None:
    try:
        strays = given((job, *argv))[1:]
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        group = [leaf.path for leaf in leaves if f"config.{leaf.path}".startswith(f"{name}.")]
        if group:
            raise UserError(f"--{name} is a group: set one of {', '.join(group)}") from None
        known = [item for item in given if item != "h"]
        raise UserError(f"unknown option --{name}{schema.nearest(name, known)} (--help lists all)") from None
    except flags.Error as error:
        text = str(error).removeprefix("flag ")
        raise UserError(f"{text} (--help lists every option)") from None
    if strays:
        raise UserError(
            f"not understood: {shlex.join(strays)}. Options are written --config.KEY=VALUE (--help lists them all)"
        )


_PLAN_HELP = (
    "  --dry_run                print what the run would take (memory, operations, time) and stop",
    "  --target DEVICES         plan for these: v5e:2x4, v6e:2x2, 8xh100, 8xcpu; of TPUs and CPUs the step is compiled",
)
_HOST_HELP = (
    "  --coordinator HOST:PORT --num_processes N --process_id I",
    "                           this is process I of N, of which process 0 is at HOST; a TPU slice and Slurm say it",
)


def _help(job: str, leaves: Sequence[schema.Leaf], spec: str, plans: bool, joins: bool) -> str:
    try:
        defaults, source = load_config(spec).values, spec
    except UserError:
        defaults, source = {}, ""
    flat = schema.flatten(defaults)
    lines = [
        f"python -m train.{job} --config FILE[:VARIANT] [--workdir DIR] [--config.KEY=VALUE ...]",
        "",
        "  --config FILE[:VARIANT]  the experiment, from the list below; :smoke is a tiny run of any of them",
        "  --workdir DIR            where everything is written; runs/CONFIG-VARIANT if not given"
        + (", gs://BUCKET/PATH too" if joins else ""),
        "  --print_config           print the resolved config and stop",
        "  --extend                 go on with more total_steps than the work directory was started with",
        *(_PLAN_HELP if plans else ()),
        *(_HOST_HELP if joins else ()),
        "  --help                   print this and stop",
        "",
        *textwrap.wrap(f"Configs: {', '.join(config_files()) or 'none in configs/'}", 100, subsequent_indent="  "),
        f"Defaults are those of {source}." if source else "Give --config FILE to see its defaults.",
        "Options marked * may change when a work directory is continued.",
        "",
    ]
    for leaf in leaves:
        default = f"={_text(flat[leaf.path])}" if leaf.path in flat else ""
        mark = "*" if leaf.kind == "free" else " "
        choices = f" ({' | '.join(leaf.choices)})" if leaf.choices else ""
        lines.append(f"{mark} --config.{leaf.path}{default}  {leaf.doc}{choices}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
