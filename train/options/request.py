"""What a user asked of a job, resolved and checked."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import config_dict

from train.errors import UserError
from train.machine.paths import WorkPath
from train.machine.signals import Guard
from train.options import schema


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for, resolved and checked.

    Attributes:
      job: name of the job, the X of `python -m train.X`.
      options: the job's table.
      config: every option's value, as a FrozenConfigDict: request.config.data.source.
      spec: the config as given, FILE or FILE:VARIANT.
      workdir: the work directory, on a local disk or in a bucket.
      overrides: the --config.KEY=VALUE given, as text.
      extend: more total_steps than the work directory's are wanted.
      dry_run: only a plan is wanted: what the run would take.
      target: the devices to plan for, by name; those that are present if None.
      coordinator: HOST:PORT of process 0 of several; None: as the environment says.
      num_processes: how many run the job together.
      process_id: which of them this is.
      derived: options that follow from others and the data, as warm-up steps from their share of the run: by path, what
        they are of a config's values, or None where these give them directly. A run that goes on keeps what it had.
      guard: tells when a signal asked the job to stop.
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
    guard: Guard = dataclasses.field(default_factory=Guard, compare=False)

    @property
    def values(self) -> dict[str, Any]:
        """{dotted path: value} of every option."""
        return schema.flatten(self.config.to_dict())

    def with_values(self, changes: Mapping[str, Any]) -> "Request":
        """The same request with other values of some options."""
        config = config_dict.FrozenConfigDict(schema.nest(self.values | dict(changes)))
        return dataclasses.replace(self, config=config)

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
