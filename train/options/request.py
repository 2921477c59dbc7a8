"""The request of a job: its resolved options and its arguments."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import config_dict

from train.errors import UserError
from train.machine.paths import WorkPath
from train.machine.signals import Guard
from train.options import schema


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A job's options and arguments, resolved and checked.

    Attributes:
      job: name of the job, the X of `python -m train.X`.
      options: the job's table of options.
      config: the value of every option, as a FrozenConfigDict: request.config.data.source.
      spec: the config as given, FILE or FILE:VARIANT.
      workdir: the work directory, on a local disk or in a bucket.
      overrides: the --config.KEY=VALUE given, as text.
      extend: whether total_steps may be more than the work directory's.
      dry_run: whether to print a plan instead of running.
      target: the devices to plan for, by name; None: the devices present.
      coordinator: HOST:PORT of process 0; None: from the environment.
      num_processes: number of processes that run the job.
      process_id: index of this process.
      derived: options that follow from others and the data, as warm-up steps from a fraction of the run. Maps a path to
        a function of the values, which returns None if the option was given directly. A resumed run keeps its values.
      sweep: the values of --sweep as text, by option.
      callbacks: called with each row of metrics.
      guard: tells when a signal has asked the job to stop.
    """

    job: str
    options: tuple[schema.Option, ...]
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
    derived: Mapping[str, Callable[[Mapping[str, Any]], Any]] = dataclasses.field(default_factory=dict)
    sweep: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    callbacks: tuple[Callable[[dict[str, Any]], object], ...] = dataclasses.field(default=(), compare=False)
    guard: Guard = dataclasses.field(default_factory=Guard, compare=False)

    @property
    def values(self) -> dict[str, Any]:
        """Returns {dotted path: value} of every option."""
        return schema.flatten(self.config.to_dict())

    def with_values(self, changes: Mapping[str, Any]) -> "Request":
        """Returns the request with some options changed."""
        config = config_dict.FrozenConfigDict(schema.nest(self.values | dict(changes)))
        return dataclasses.replace(self, config=config)

    def parsed(self, path: str, text: str) -> Any:
        """Returns the value that `text` stands for as the option `path`.

        Raises:
          UserError: there is no such option, or the text does not have its type or range.
        """
        known = {option.path: option for option in self.options}
        if path not in known:
            raise UserError(f"unknown option --config.{path}{schema.nearest(path, known)} (--help lists all)")
        try:
            return schema.parse(known[path], text)
        except ValueError as error:
            raise UserError(f"config.{path}={text}: {error}") from None

    @property
    def local_workdir(self) -> Path:
        """Returns the work directory, for a job that needs it on a local disk.

        Raises:
          UserError: it is in a bucket.
        """
        if isinstance(self.workdir, Path):
            return self.workdir
        several = "several runs need" if self.sweep or self.values.get("seeds", 1) > 1 else f"train.{self.job} needs"
        raise UserError(f"--workdir {self.workdir}: {several} a directory on a local disk")

    def command(self, workdir: WorkPath | None = None, extend: bool | None = None, **changes: str) -> str:
        """Returns this request as a shell command, with some options changed (`total_steps="200"`)."""
        arguments = self.arguments(workdir, self.extend if extend is None else extend, changes)
        return shlex.join(["python", "-m", f"train.{self.job}", *arguments])

    def arguments(
        self, workdir: WorkPath | None = None, extend: bool = False, changes: Mapping[str, str] | None = None
    ) -> list[str]:
        """Returns the arguments of that command."""
        parts = ["--config", self.spec, "--workdir", str(workdir or self.workdir)]
        parts += [f"--config.{path}={text}" for path, text in (self.overrides | dict(changes or {})).items()]
        return [*parts, "--extend"] if extend else parts
