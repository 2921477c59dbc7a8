"""What the doctor examines, in parts that a test can replace, and what it says of it."""

import dataclasses
import functools
import os
import tomllib
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from tpu.probing import Probe, ProbeRequest, run_probe
from train.machine.process_count import TPU_FILES, processes_of_environment

Status = Literal["ok", "warning", "failure", "not applicable"]

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
      status: whether it is well.
      message: what was found.
      cure: what to do, unless all is well.
    """

    status: Status
    message: str
    cure: str = ""


def ok(message: str) -> Finding:
    return Finding("ok", message)


def warning(message: str, cure: str) -> Finding:
    return Finding("warning", message, cure)


def failure(message: str, cure: str) -> Finding:
    return Finding("failure", message, cure)


def not_applicable(message: str) -> Finding:
    return Finding("not applicable", message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the caller says of the machine.

    Attributes:
      expect_devices: devices that JAX should have, of all processes; None: any number.
      expect_platform: "tpu", "gpu" or "cpu"; None: any.
      workdir: the job's work directory, a path or gs://bucket/path.
      coordinator: (host, port) of process 0 of several.
      num_processes: how many there are, where neither TPU metadata nor Slurm say so.
      process_id: this one's number, likewise.
      timeout_seconds: what JAX may take to start and compute a sum.
    """

    expect_devices: int | None = None
    expect_platform: str | None = None
    workdir: str | None = None
    coordinator: tuple[str, int] | None = None
    num_processes: int | None = None
    process_id: int | None = None
    timeout_seconds: float = 300


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _installed_requirements(package: str) -> list[str]:
    try:
        return metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return []


@dataclasses.dataclass
class Machine:
    """The machine the doctor runs on, or what a test puts in its place.

    Attributes:
      options: what the caller said.
      environ: the environment.
      root: under which /dev, /proc and /tmp lie.
      version: the installed version of a package, None where it is not installed.
      requirements: what an installed package requires.
      pyproject: the file that bounds the versions.
      start_jax: starts JAX in a process of its own.
    """

    options: Options = dataclasses.field(default_factory=Options)
    environ: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(os.environ))
    root: Path = Path("/")
    version: Callable[[str], str | None] = _installed_version
    requirements: Callable[[str], list[str]] = _installed_requirements
    pyproject: Path = CHECKOUT / "pyproject.toml"
    start_jax: Callable[[ProbeRequest, Mapping[str, str]], Probe] = run_probe

    @functools.cached_property
    def project(self) -> dict[str, Any]:
        """The [project] table of pyproject.toml."""
        return tomllib.loads(self.pyproject.read_text())["project"]

    def accelerators(self) -> dict[str, str]:
        """Returns {"tpu" or "gpu": a device file} of what this machine seems to have."""
        patterns = {"tpu": TPU_FILES, "gpu": ("nvidia[0-9]*",)}
        found = {
            kind: [p for pattern in globs for p in self.root.glob(f"dev/{pattern}")] for kind, globs in patterns.items()
        }
        return {kind: f"/{min(paths).relative_to(self.root)}" for kind, paths in found.items() if paths}

    def expects(self, platform: str) -> bool:
        """Whether a platform was named by the caller or, where none was, seems to be there."""
        named = self.options.expect_platform
        return named == platform if named else platform in self.accelerators()

    @functools.cached_property
    def processes(self) -> int:
        """How many processes a job has here, by the first that says so: options, TPU environment, Slurm, metadata."""
        if self.options.num_processes:
            return self.options.num_processes
        return processes_of_environment(self.environ, self.root)

    @functools.cached_property
    def probe(self) -> Probe:
        """What JAX said of itself; started at the first look, not where no check looks."""
        options = self.options
        coordinator = ":".join(map(str, options.coordinator)) if options.coordinator else None
        request = ProbeRequest(
            distributed=self.processes > 1,
            coordinator=coordinator,
            num_processes=options.num_processes,
            process_id=options.process_id,
            timeout_seconds=options.timeout_seconds,
        )
        return self.start_jax(request, self.environ)
