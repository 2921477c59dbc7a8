"""What was measured, under which circumstances, and the file that keeps it."""

import dataclasses
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_steps.cases import Case, case_of
from train.errors import UserError
from train.machine.files import write_json

FILE = "gpu_steps.json"
# Relative. Other settings round in another order: a loss, a float32 mean of many, by no more than bfloat16 rounds one
# number (2^-8); gradient norms as benchmarks.compile_vs_run has it.
_LOSS_TOLERANCE = 2.0**-8
_NORM_TOLERANCE = 5e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a case took. Seconds are wall-clock time.

    Attributes:
        build_seconds: flax_lite: tracing, lowering and compiling; PyTorch: the first step, which compiles.
        step_seconds: each step after the warm-up, waited for.
        loss: of the first step.
        grad_norm: of the first step.
        peak_bytes: the most memory that was in use; None where the device does not say.
        settings: versions and what else a reader has to know.
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
class Row:
    """A case and what came of it: numbers, or why there are none."""

    case: Case
    started: str
    outcome: Measurement | str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that may be compared.

    Attributes:
        circumstances: the same for all rows: device, versions, commit, sizes.
        peak: FLOPs a second by the maker's data sheet; None where it is not known.
        floor: FLOPs a second of a large product of matrices, measured.
        rows: in the order in which they were measured.
    """

    circumstances: Mapping[str, Any]
    peak: float | None
    floor: float
    rows: list[Row]

    @property
    def measured(self) -> dict[Case, Measurement]:
        """The numbers by case."""
        return {row.case: row.outcome for row in self.rows if isinstance(row.outcome, Measurement)}

    @property
    def speeds(self) -> dict[Case, float | None]:
        """Tokens a second of what was tried; None where it failed."""
        return {
            row.case: tokens_per_second(row.case, row.outcome) if isinstance(row.outcome, Measurement) else None
            for row in self.rows
        }


def tokens_per_second(case: Case, measured: Measurement) -> float:
    """Tokens of a batch, padding too, over the median step."""
    return case.rows * case.length / measured.step


def utilization(flops: float, measured: Measurement, rate: float | None) -> float | None:
    """A step's model FLOPs over what a device of that many FLOPs a second could have done in its time."""
    return None if rate is None else flops / (measured.step * rate)


def read(file: Path, device: Mapping[str, Any]) -> Results:
    """The results of a file; without rows where there is none.

    Args:
        file: as `write` wrote it.
        device: circumstances, peak and floor as they are now; a floor that was measured before stays.

    Raises:
        UserError: the file is of other circumstances, so new rows cannot stand beside its own, or of another form.
    """
    if not file.exists():
        return Results(**device, rows=[])
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        rows = [_row(one) for one in record["rows"]]
        found = Results(circumstances=record["circumstances"], peak=record["peak"], floor=record["floor"], rows=rows)
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} was not written by this command as it is now: give another --output") from None
    known, present = found.circumstances, device["circumstances"]
    if known != present:
        names = ", ".join(sorted(name for name in {*known, *present} if known.get(name) != present.get(name)))
        raise UserError(f"{file} is of other circumstances ({names}): give another --output")
    return found


def write(file: Path, results: Results, not_run: Mapping[Case, str]) -> None:
    """Writes what was measured, and what was not with the reason."""
    file.parent.mkdir(parents=True, exist_ok=True)
    missing = [{"case": dataclasses.asdict(case), "reason": reason} for case, reason in not_run.items()]
    write_json(file, dataclasses.asdict(results) | {"not_run": missing})


def disagreements(results: Results) -> list[str]:
    """A line for each setting whose first step had another loss or gradient norm than that of the first of its batch.

    PyTorch's parameters are others, so that it is not compared.
    """
    return list(_disagreements(results.measured))


def _disagreements(measured: Mapping[Case, Measurement]) -> Iterator[str]:
    references: dict[tuple[Any, ...], Measurement] = {}
    for case, one in measured.items():
        if case.setting is None:
            continue
        reference = references.setdefault((case.group, case.rows), one)
        for name, tolerance in (("loss", _LOSS_TOLERANCE), ("grad_norm", _NORM_TOLERANCE)):
            got, want = getattr(one, name), getattr(reference, name)
            if abs(got - want) > tolerance * abs(want):
                yield f"{case}: {name} {got:.5f}, another setting {want:.5f}, tolerance {tolerance:.1%}"


def _row(record: Mapping[str, Any]) -> Row:
    outcome = record["outcome"]
    done = outcome if isinstance(outcome, str) else Measurement(**outcome)
    return Row(case=case_of(record["case"]), started=record["started"], outcome=done)
