"""Parsing a job's command line into a request, and its --help.

absl parses the flags, which are made from the job's table of options; messages and --help are written here.
"""

import dataclasses
import itertools
import json
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_dict

from train.errors import UserError
from train.machine.paths import work_path
from train.machine.signals import Guard
from train.options import schema
from train.options.config_files import LoadedConfig, config_files, load_config
from train.options.request import Request
from train.options.tables import JOB_OPTIONS

Table = Sequence[schema.Option]

_HOST_FLAGS = ("coordinator", "num_processes", "process_id")
_PLAN_HELP = (
    "  --dry_run                print the memory, operations and time that the run would need, and stop",
    "  --target DEVICES         plan for v5e:2x4, v6e:2x2, 8xh100, 8xcpu, ...; for TPUs and CPUs the step is compiled",
)
_SWEEP_HELP = (
    "  --sweep config.KEY=A,B   run with each value (of several --sweep: each combination), and compare the scores",
)
_HOST_HELP = (
    "  --coordinator HOST:PORT --num_processes N --process_id I",
    "                           this is process I of N, and process 0 is on HOST; not needed on TPU slices and Slurm",
)


def parse(
    job: str,
    options: Table | Mapping[str, Table],
    argv: Sequence[str],
    guard: Guard,
    help_config: str = "",
    plans: bool = False,
    joins: bool = False,
    sweeps: bool = False,
) -> Request | None:
    """Returns the request of a command line; for --help and --print_config, prints and returns None.

    Args:
      job: the job's name, for messages.
      options: its table of options, or several tables by name, of which the config selects one.
      argv: the arguments.
      guard: the request's guard.
      help_config: the config whose values --help shows if none is given.
      plans: whether the job takes --dry_run.
      joins: whether the job takes --coordinator.
      sweeps: whether the job takes --sweep.

    Raises:
      UserError: an argument is unknown or has a wrong value.
    """
    options = tuple(_table(job, options, argv, help_config) if isinstance(options, Mapping) else options)
    given = _flag_values(options, plans, joins, sweeps)
    _read_flags(given, job, options, argv)
    if given["help"].value:
        print(_help(job, options, given["config"].value or help_config, plans, joins, sweeps))
        return None
    workdir = work_path(given["workdir"].value or "")
    spec = given["config"].value
    if spec is None:
        raise _missing_config(job)
    loaded = load_config(spec)
    _check_job(job, loaded)
    values = schema.validate(options, loaded.values, str(loaded.path))
    changed = [option.path for option in options if given[f"config.{option.path}"].present]
    values |= {path: given[f"config.{path}"].value for path in changed}
    if given["print_config"].value:
        print(json.dumps(schema.nest(values), indent=2))
        return None
    request = Request(
        job=job,
        options=options,
        config=config_dict.FrozenConfigDict(schema.nest(values)),
        spec=spec,
        workdir=workdir if given["workdir"].value else Path(f"runs/{loaded.name}"),
        overrides={path: _text(values[path]) for path in changed},
        extend=bool(given["extend"].value),
        **_plan(given, plans),
        **_hosts(given, joins),
        guard=guard,
    )
    return dataclasses.replace(request, sweep=_sweep(request, given["sweep"].value or ())) if sweeps else request


def _sweep(request: Request, texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the values of each swept option, `config.KEY=A,B`."""
    sweep: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, values = text.removeprefix("--").partition("=")
        path = name.removeprefix("config.")
        listed = tuple(value.strip() for value in values.split(",") if value.strip())
        if not equals or not name.startswith("config.") or not listed or path in sweep:
            raise UserError(f"--sweep {text}: expected config.KEY=VALUE,VALUE,..., each KEY once")
        if path in ("seed", "seeds"):
            raise UserError(f"--sweep {text}: give --config.seeds=N instead, which runs each combination N times")
        for value in listed:
            request.parsed(path, value)
        if path in request.overrides:
            raise UserError(f"--sweep {text}: --config.{path} is given too; leave it out")
        sweep[path] = listed
    return sweep


def _table(job: str, tables: Mapping[str, Table], argv: Sequence[str], help_config: str) -> Table:
    """Returns the table of the config on a command line, which has to be known before the options are parsed."""
    spec = ""
    for argument, following in itertools.pairwise([*argv, ""]):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "config":
            spec = value if equals else following
    if not (spec or argv):
        raise _missing_config(job)
    loaded = load_config(spec or help_config)
    if loaded.table not in tables:
        raise _another_job(job, loaded)
    return tables[loaded.table]


def _usage(job: str) -> str:
    return f"python -m train.{job} --config FILE[:VARIANT] [--workdir DIR] [--config.KEY=VALUE ...]"


def _missing_config(job: str) -> UserError:
    configs = ", ".join(config_files()) or "none in configs/ (run it from a checkout)"
    return UserError(f"--config is missing. Give one of: {configs}\nusage: {_usage(job)}\n(--help lists every option)")


def _check_job(job: str, loaded: LoadedConfig) -> None:
    if job in JOB_OPTIONS and loaded.job != job:
        raise _another_job(job, loaded)


def _another_job(job: str, loaded: LoadedConfig) -> UserError:
    return UserError(f"{loaded.path} is a config for another job: python -m train.{loaded.job} --config {loaded.path}")


class _OptionParser(flags.ArgumentParser):
    """Parses an option for absl; booleans take a value too, so `--config.plot false` is no stray argument."""

    def __init__(self, option: schema.Option) -> None:
        self.option = option

    def parse(self, argument: Any) -> Any:
        return schema.parse(self.option, str(argument))

    def flag_type(self) -> str:
        return "option"


def _plan(given: flags.FlagValues, plans: bool) -> dict[str, Any]:
    if not plans:
        return {}
    if given["target"].present and not given["dry_run"].value:
        raise UserError("--target names the devices that --dry_run plans for: give both, or neither")
    return {name: given[name].value for name in ("dry_run", "target")}


def _hosts(given: flags.FlagValues, joins: bool) -> dict[str, Any]:
    return {name: given[name].value for name in _HOST_FLAGS} if joins else {}


def _flag_values(options: Sequence[schema.Option], plans: bool, joins: bool, sweeps: bool) -> flags.FlagValues:
    """Returns the flags of this command line alone; absl's global table has those of libraries too."""
    given = flags.FlagValues()
    given.set_gnu_getopt(True)  # continue after a stray argument, so that all mistakes are reported
    flags.DEFINE_string("config", None, "config file, with its variant", flag_values=given)
    flags.DEFINE_string("workdir", None, "work directory", flag_values=given)
    flags.DEFINE_bool("print_config", False, "print the resolved config and stop", flag_values=given)
    flags.DEFINE_bool("extend", False, "allow more total_steps than before", flag_values=given)
    if plans:
        flags.DEFINE_bool("dry_run", False, "print what the run would need and stop", flag_values=given)
        flags.DEFINE_string("target", None, "devices to plan for", flag_values=given)
    if sweeps:
        flags.DEFINE_multi_string("sweep", [], "config.KEY=VALUE,VALUE,...", flag_values=given)
    if joins:
        flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0", flag_values=given)
        flags.DEFINE_integer("num_processes", None, "processes of this job", lower_bound=1, flag_values=given)
        flags.DEFINE_integer("process_id", None, "which of them this is", lower_bound=0, flag_values=given)
    flags.DEFINE_bool("help", False, "print the options and stop", flag_values=given, short_name="h")
    for option in options:
        flags.DEFINE(_OptionParser(option), f"config.{option.path}", None, option.doc, flag_values=given)
    return given


def _read_flags(given: flags.FlagValues, job: str, options: Sequence[schema.Option], argv: Sequence[str]) -> None:
    try:
        strays = given((job, *argv))[1:]
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        group = [option.path for option in options if f"config.{option.path}".startswith(f"{name}.")]
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


def _help(job: str, options: Sequence[schema.Option], spec: str, plans: bool, joins: bool, sweeps: bool) -> str:
    try:
        config, source = load_config(spec).values, spec
    except UserError:
        config, source = {}, ""
    values = schema.resolve(options, config)
    lines = [
        _usage(job),
        "",
        "  --config FILE[:VARIANT]  the experiment, one of those below; :smoke is a tiny run of any of them",
        "  --workdir DIR            output directory; default runs/CONFIG-VARIANT" + ", or gs://BUCKET/PATH" * joins,
        "  --print_config           print the resolved config and stop",
        "  --extend                 continue with more total_steps than the work directory was started with",
        *(_SWEEP_HELP if sweeps else ()),
        *(_PLAN_HELP if plans else ()),
        *(_HOST_HELP if joins else ()),
        "  --help                   print this and stop",
        "",
        *textwrap.wrap(f"Configs: {', '.join(config_files()) or 'none in configs/'}", 100, subsequent_indent="  "),
        f"Defaults are those of {source}." if source else "Give --config FILE to see its defaults.",
        "Options marked * may change when a run is resumed.",
        "",
    ]
    for option in options:
        default = f"={_text(values[option.path])}" if option.path in values else ""
        mark = "*" if option.on_resume == "free" else " "
        choices = f" ({' | '.join(option.choices)})" if option.choices else ""
        lines.append(f"{mark} --config.{option.path}{default}  {option.doc}{choices}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    """Returns a value as the command line takes it."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
