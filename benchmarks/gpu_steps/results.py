"""The measurements of a device, and the file that keeps them."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_steps.cases import Case
from benchmarks.harness import results as harness
from benchmarks.harness.results import decode
from train.errors import UserError

# Relative. Other settings round in another order: the loss, a float32 mean of many, changes by no more than bfloat16
# rounds one number (2^-8); gradient norms as in benchmarks.compile_vs_run.
_TOLERANCES = {"loss": 2.0**-8, "grad_norm": 5e-2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """The numbers of a case. Seconds are wall-clock time.

    Attributes:
        build_seconds: flax_lite: tracing, lowering and compiling; PyTorch: the first step, which compiles.
        step_seconds: each step after the warm-up, waited for.
        loss: of the first step.
        grad_norm: of the first step.
        peak_bytes: the most memory in use; None if the device does not report it.
        settings: versions and other facts that a reader needs.
    """

    build_seconds: float
    step_seconds: Sequence[float]
    loss: float
    grad_norm: float
    peak_bytes: int | None
    settings: str

    @property
    def step(self) -> float:
        """The median step."""
        return statistics.median(self.step_seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row(harness.Row):
    """A case and its numbers."""

    case: Case
    outcome: Measurement | str


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotRun:
    """A planned case, and the reason why it was not tried."""

    case: Case
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """The rows of one device, which may be compared.

    Attributes:
        circumstances: of all rows: device, versions, commit, sizes.
        peak: FLOPs per second on the data sheet; None if unknown.
        floor: measured FLOPs per second of a large matrix product.
        rows: in the order in which they were measured.
        not_run: the planned cases that have no row.
    """

    circumstances: Mapping[str, Any]
    peak: float | None
    floor: float
    rows: list[Row]
    not_run: list[NotRun] = dataclasses.field(default_factory=list)

    @property
    def measured(self) -> dict[Case, Measurement]:
        """The numbers by case."""
        return {row.case: row.outcome for row in self.rows if isinstance(row.outcome, Measurement)}

    @property
    def speeds(self) -> dict[Case, float | None]:
        """Tokens per second of each case that was tried; None if it failed."""
        measured = self.measured
        tried = [row.case for row in self.rows]
        return {case: tokens_per_second(case, measured[case]) if case in measured else None for case in tried}


def tokens_per_second(case: Case, measured: Measurement) -> float:
    """Returns tokens of a batch, padding included, over the median step."""
    return case.rows * case.length / measured.step


def utilization(flops: float, measured: Measurement, rate: float | None) -> float | None:
    """Returns a step's model FLOPs over those that a device with this rate could have done in its time."""
    return None if rate is None else flops / (measured.step * rate)


def read(file: Path, device: Mapping[str, Any] | None = None) -> Results:
    """Reads the results of a file; without rows if there is no file.

    Args:
        file: as `write` wrote it.
        device: present circumstances, peak and floor; a floor in the file takes precedence. None: those of the file.

    Raises:
        UserError: if the file has other circumstances, so that new rows would not be comparable, or another form.
    """
    absent = Results(**device, rows=[]) if device else None
    found = harness.read(file, lambda record: decode(Results, record), absent)
    if found is None:
        raise UserError(f"{file}: there is no such file")
    known, present = found.circumstances, device["circumstances"] if device else found.circumstances
    if known != present:
        names = ", ".join(sorted(name for name in {*known, *present} if known.get(name) != present.get(name)))
        raise UserError(f"{file} is of other circumstances ({names}): give another --output")
    return found


def write(file: Path, results: Results) -> None:
    """Writes all results."""
    harness.write(file, dataclasses.asdict(results))


def disagreements(results: Results) -> list[str]:
    """Returns a line for each setting whose first loss or gradient norm differs from the first setting's.

    Settings are compared on the same batch. PyTorch has other parameters, so it is left out.
    """
    lines, references = [], dict[tuple[Any, ...], Measurement]()
    for case, one in results.measured.items():
        if case.setting is None:
            continue
        reference = references.setdefault((case.group, case.rows), one)
        for name, tolerance in _TOLERANCES.items():
            got, want = getattr(one, name), getattr(reference, name)
            if abs(got - want) > tolerance * abs(want):
                lines.append(f"{case}: {name} {got:.5f}, another setting {want:.5f}, tolerance {tolerance:.1%}")
    return lines
