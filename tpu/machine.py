"""The machine that the doctor checks, in parts that a test can replace; and the findings of the checks."""

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
    """The result of a check.

    Attributes:
      status: the outcome.
      message: a description of the machine's state.
      cure: how to solve the problem, if there is one.
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
    """The user's expectations of the machine.

    Attributes:
      expect_devices: the number of devices that JAX should find, over all processes; None: any.
      expect_platform: "tpu", "gpu" or "cpu"; None: any.
      workdir: the job's work directory, a path or gs://BUCKET/PATH.
      coordinator: (host, port) of process 0, for several processes.
      num_processes: the number of processes, unless TPU metadata or Slurm give it.
      process_id: the index of this process, likewise.
      timeout_seconds: the time limit for JAX to start and compute a sum.
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
    """The machine the doctor runs on, or a fake one of a test.

    Attributes:
      options: the user's expectations.
      environ: the environment variables.
      root: the directory that contains /dev, /proc and /tmp.
      version: returns the installed version of a package, or None.
      requirements: returns the requirements of an installed package.
      pyproject: the file with the version bounds.
      start_jax: starts JAX in a subprocess.
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
        """Returns {"tpu" or "gpu": a device file} for the accelerators that this machine seems to have."""
        patterns = {"tpu": TPU_FILES, "gpu": ("nvidia[0-9]*",)}
        found = {
            kind: [p for pattern in globs for p in self.root.glob(f"dev/{pattern}")] for kind, globs in patterns.items()
        }
        return {kind: f"/{min(paths).relative_to(self.root)}" for kind, paths in found.items() if paths}

    def expects(self, platform: str) -> bool:
        """Whether the user expects this platform or, without an expectation, the machine seems to have it."""
        expected = self.options.expect_platform
        return expected == platform if expected else platform in self.accelerators()

    @functools.cached_property
    def processes(self) -> int:
        """The number of processes of a job here: from the options, else the TPU environment, Slurm or metadata."""
        if self.options.num_processes:
            return self.options.num_processes
        return processes_of_environment(self.environ, self.root)

    @functools.cached_property
    def probe(self) -> Probe:
        """The result of starting JAX, which happens when the first check asks for it."""
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
