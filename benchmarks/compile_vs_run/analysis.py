"""What follows from the numbers: when a longer compile has paid for itself, and whether all did the same work."""

import dataclasses
import math
from collections.abc import Mapping

from benchmarks.compile_vs_run.cases import Case
from benchmarks.compile_vs_run.results import Measurement

# Relative to the largest of the numbers compared: other executions sum in another order. Of steps that compute in
# bfloat16 the gradient norm differs most.
_TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 5e-2}


@dataclasses.dataclass(frozen=True)
class BreakEven:
    """An unrolled stack beside a scan over the same one.

    Attributes:
        case: the unrolled one.
        more_build_seconds: by which its build is longer.
        less_step_seconds: by which its step is shorter.
        steps: from so many on it is ahead for good; infinity: never.
        beyond_spread: whether the middle halves of both's steps lie apart; where they do not, the number means little.
    """

    case: Case
    more_build_seconds: float
    less_step_seconds: float
    steps: float
    beyond_spread: bool


def break_even_steps(scan: tuple[float, float], unrolled: tuple[float, float]) -> float:
    """The least number of steps from which on the unrolled program is done no later than the scan.

    (build_unrolled - build_scan) / (step_scan - step_unrolled), rounded up; 0 where the build is no longer either.

    Args:
        scan: seconds of its build and of a step.
        unrolled: likewise.

    Returns:
        The number; infinity where the unrolled program's step is no shorter, but for one that costs nothing more.
    """
    more, less = unrolled[0] - scan[0], scan[1] - unrolled[1]
    if less > 0:
        return max(0, math.ceil(more / less))
    return 0 if less == 0 and more <= 0 else math.inf


def break_evens(measured: Mapping[Case, Measurement]) -> list[BreakEven]:
    """Every unrolled case that was run beside its scan."""
    found = []
    for case, one in measured.items():
        scan = measured.get(dataclasses.replace(case, unroll=1))
        if case.unroll == 1 or scan is None or one.step is None or scan.step is None:
            continue
        steps = break_even_steps((scan.build_seconds, scan.step.median), (one.build_seconds, one.step.median))
        more, less = one.build_seconds - scan.build_seconds, scan.step.median - one.step.median
        lie_apart = one.step.high < scan.step.low or scan.step.high < one.step.low
        found.append(BreakEven(case, more, less, steps, lie_apart))
    return found


def disagreements(measured: Mapping[Case, Measurement]) -> list[str]:
    """Cases that computed something else than another execution of the same model: a line each.

    The first of each model is what the others are held against.
    """
    found, references = [], {}
    for case, one in measured.items():
        if not one.outcome:
            continue
        expected = references.setdefault(dataclasses.replace(case, unroll=1, remat="none"), one.outcome)
        scale = max(map(abs, expected))
        if any(
            abs(got - want) > _TOLERANCES[one.dtype] * scale for got, want in zip(one.outcome, expected, strict=True)
        ):
            found.append(f"{case}: {one.outcome}, others {expected}")
    return found
