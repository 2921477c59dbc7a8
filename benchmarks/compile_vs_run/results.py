"""What a case cost, and its record."""

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.compile_vs_run.cases import Case
from benchmarks.compile_vs_run.stages import Stages, median_stages
from benchmarks.series import Series
from benchmarks.spread import Spread, spread

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
    def step(self) -> Spread | None:
        """Of the runs after the first."""
        return spread(self.run_seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A case, when it was measured, and what came of it: numbers, or why there are none."""

    case: Case
    started: str
    load_before: float
    outcome: Measurement | str


def measured(series: Series[Row]) -> dict[Case, Measurement]:
    """The numbers by case, in order."""
    found = {row.case: row.outcome for row in series.rows if isinstance(row.outcome, Measurement)}
    return {case: found[case] for case in sorted(found, key=lambda case: case.order)}


def measurement(record: Mapping[str, Any]) -> Measurement:
    """A measurement from its record."""
    stages = {"builds": [Stages(*one) for one in record["builds"]]}
    return Measurement(**{**record, **stages, "warm": record["warm"] and Stages(*record["warm"])})


def row_of(record: Mapping[str, Any]) -> Row:
    """A case and what came of it from their record."""
    outcome = record["outcome"]
    done = outcome if isinstance(outcome, str) else measurement(outcome)
    return Row(**{**record, "case": Case(**record["case"]), "outcome": done})
