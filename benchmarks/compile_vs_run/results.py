"""The numbers of a case."""

import dataclasses
import statistics

from benchmarks.compile_vs_run.cases import Case
from benchmarks.compile_vs_run.stages import Stages
from benchmarks.harness import results
from benchmarks.harness.timing import Spread, spread


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """The cost of one case. Seconds are wall-clock time, bytes those of one device.

    Attributes:
        builds: seconds of each build from nothing, caches off.
        program_lines: lines of StableHLO.
        code_bytes: machine code; None if the compiler does not report it.
        temporary_bytes: memory that the program allocates while it runs, in addition to its arguments and results;
            mostly activations kept for the backward pass.
        argument_bytes: parameters and optimizer state, a teacher, the batch.
        total_bytes: arguments, results and temporaries, donated arguments once: an upper bound of a device's memory.
        peak_bytes: the compiler's own estimate of the most that is alive at once; None if it does not report it. Its
            meaning depends on the platform: XLA:CPU's leaves temporaries out.
        dtype: of activations.
        warm: seconds of a build in another process that finds the program in the persistent compilation cache: the last
            stage loads it. None if it was not tried.
        warm_hit: whether the cache had it.
        first_seconds: the first run; None if nothing is run.
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
        return Stages(*map(statistics.median, zip(*self.builds, strict=True)))

    @property
    def build_seconds(self) -> float:
        """The median of tracing, lowering and compiling in total."""
        return statistics.median(map(sum, self.builds))

    @property
    def step(self) -> Spread | None:
        """The spread of the runs after the first."""
        return spread(self.run_seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row(results.Row):
    """A case and its numbers."""

    case: Case
    outcome: Measurement | str
