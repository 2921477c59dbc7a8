"""Conclusions from the numbers: when a longer compilation has paid off, and whether all executions agree."""

import dataclasses
import math

from benchmarks.compile_vs_run.cases import Case
from benchmarks.compile_vs_run.results import Row
from benchmarks.harness.results import Series

# Relative to the largest of the numbers compared: other executions sum in another order. In bfloat16 the gradient norm
# differs most.
_TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 5e-2}


@dataclasses.dataclass(frozen=True)
class BreakEven:
    """An unrolled stack compared with a scan over the same layers.

    Attributes:
        case: the unrolled one.
        more_build_seconds: by which its build is longer.
        less_step_seconds: by which its step is shorter.
        steps: the number of steps from which it is ahead for good; infinity for never.
        beyond_spread: whether the quartile ranges of the two steps are disjoint; if not, `steps` means little.
    """

    case: Case
    more_build_seconds: float
    less_step_seconds: float
    steps: float
    beyond_spread: bool


def break_even_steps(scan: tuple[float, float], unrolled: tuple[float, float]) -> float:
    """Computes the least number of steps from which the unrolled program finishes no later than the scan.

    (build_unrolled - build_scan) / (step_scan - step_unrolled), rounded up; 0 if its build is no longer either.

    Args:
        scan: seconds of its build and of a step.
        unrolled: likewise.

    Returns:
        The number; infinity if the unrolled step is no shorter, unless it is equal and the build costs nothing more.
    """
    more, less = unrolled[0] - scan[0], scan[1] - unrolled[1]
    if less > 0:
        return max(0, math.ceil(more / less))
    return 0 if less == 0 and more <= 0 else math.inf


def break_evens(series: Series[Row]) -> list[BreakEven]:
    """Compares every unrolled case with its scan, if both were run."""
    found, measured = [], series.measured
    for case in sorted(measured, key=lambda case: case.order):
        one, scan = measured[case], measured.get(dataclasses.replace(case, unroll=1))
        if case.unroll == 1 or scan is None or one.step is None or scan.step is None:
            continue
        steps = break_even_steps((scan.build_seconds, scan.step.median), (one.build_seconds, one.step.median))
        more, less = one.build_seconds - scan.build_seconds, scan.step.median - one.step.median
        disjoint = one.step.high < scan.step.low or scan.step.high < one.step.low
        found.append(BreakEven(case, more, less, steps, disjoint))
    return found


def disagreements(series: Series[Row]) -> list[str]:
    """Returns a line for each case whose result differs from that of the first execution of the same model."""
    found, references = [], {}
    for case, one in sorted(series.measured.items(), key=lambda item: item[0].order):
        if not one.outcome:
            continue
        expected = references.setdefault(dataclasses.replace(case, unroll=1, remat="none"), one.outcome)
        tolerance = _TOLERANCES[one.dtype] * max(map(abs, expected))
        if any(abs(got - want) > tolerance for got, want in zip(one.outcome, expected, strict=True)):
            found.append(f"{case}: {one.outcome}, others {expected}")
    return found
