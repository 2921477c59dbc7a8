"""What was measured, under which circumstances, and the file that keeps it."""

import dataclasses
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.compile_vs_run.cases import Case
from benchmarks.compile_vs_run.stages import Stages, median_stages
from train.errors import UserError
from train.whole_writes import write_json

FILE = "compile_vs_run.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one case cost. Seconds are wall-clock time, bytes those of one device.

    Attributes:
        builds: seconds of each build from nothing, caches off.
        program_lines: lines of StableHLO.
        code_bytes: machine code; None where the compiler does not say.
        temporary_bytes: the compiler's: what the program allocates while it runs, on top of what it is given and
            returns; activations kept for the backward pass are the largest part.
        argument_bytes: what the program is given: parameters and optimizer state, a teacher, the batch.
        total_bytes: arguments, results and temporaries, donated arguments once: what a device needs at most.
        peak_bytes: the compiler's own estimate of the most that is alive at once; None where it does not say. It means
            what the platform makes of it: that of XLA:CPU leaves temporaries out.
        dtype: of activations.
        warm: seconds of a build in another process that finds the program in the persistent compilation cache: the last
            stage loads it. None where it was not tried.
        warm_hit: whether the cache had it.
        first_seconds: the first run; None where nothing is run.
        run_seconds: each run after it.
        outcome: loss and gradient norm of the first step, or the first numbers of the forward pass.
    """

    builds: list[Stages]
    program_lines: int
    code_bytes: int | None
    temporary_bytes: int
    argument_bytes: int
    total_bytes: int
    peak_bytes: int | None
    dtype: str
    warm: Stages | None = None
    warm_hit: bool = False
    first_seconds: float | None = None
    run_seconds: list[float] = dataclasses.field(default_factory=list)
    outcome: list[float] = dataclasses.field(default_factory=list)

    @property
    def stages(self) -> Stages:
        """The median of each stage."""
        return median_stages(self.builds)

    @property
    def build_seconds(self) -> float:
        """Tracing, lowering and compiling together, the median."""
        return statistics.median(map(sum, self.builds))

    @property
    def step_seconds(self) -> float | None:
        """The median run."""
        return statistics.median(self.run_seconds) if self.run_seconds else None

    @property
    def step_quartiles(self) -> tuple[float, float]:
        """The quartiles of the runs; the least and the most where there are fewer than four."""
        if len(self.run_seconds) < 4:
            return min(self.run_seconds), max(self.run_seconds)
        first, _, third = statistics.quantiles(self.run_seconds, n=4, method="inclusive")
        return first, third


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A case, when it was measured, and what came of it: numbers, or why there are none."""

    case: Case
    started: str
    load_before: float
    outcome: Measurement | str


@dataclasses.dataclass(frozen=True)
class Series:
    """Rows that may be compared: the same sizes, device, versions and commit."""

    circumstances: Mapping[str, Any]
    rows: list[Row]

    @property
    def measured(self) -> dict[Case, Measurement]:
        """The numbers by case, in order."""
        found = {row.case: row.outcome for row in self.rows if isinstance(row.outcome, Measurement)}
        return {case: found[case] for case in sorted(found, key=lambda case: case.order)}

    def put(self, row: Row) -> None:
        """Adds a row in place of what the case had."""
        self.rows[:] = [*(other for other in self.rows if other.case != row.case), row]


def read(folder: Path) -> list[Series]:
    """The series of a folder; none where there is no file.

    Raises:
        UserError: the file is not of this command's present form.
    """
    file = folder / FILE
    if not file.exists():
        return []
    record = json.loads(file.read_text(encoding="utf-8"))
    if "series" not in record:
        raise UserError(f"{file} was written by another version of this command: give another --output")
    return [Series(one["circumstances"], [_row(row) for row in one["rows"]]) for one in record["series"]]


def series_of(known: list[Series], circumstances: Mapping[str, Any]) -> Series:
    """The series with these circumstances, last in the list; a new one where there is none."""
    own = next((one for one in known if one.circumstances == circumstances), Series(circumstances, []))
    known[:] = [*(one for one in known if one is not own), own]
    return own


def write(folder: Path, known: list[Series]) -> None:
    """Writes all series."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, {"series": [dataclasses.asdict(one) for one in known]})


def measurement(record: Mapping[str, Any]) -> Measurement:
    """A measurement from its record."""
    stages = {"builds": [Stages(*one) for one in record["builds"]]}
    return Measurement(**{**record, **stages, "warm": record["warm"] and Stages(*record["warm"])})


def _row(record: Mapping[str, Any]) -> Row:
    outcome = record["outcome"]
    done = outcome if isinstance(outcome, str) else measurement(outcome)
    return Row(**{**record, "case": Case(**record["case"]), "outcome": done})
