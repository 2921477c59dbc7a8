"""Conclusions from known numbers."""

import dataclasses
import math

import numpy as np
import pytest

from benchmarks.compile_vs_run.analysis import break_even_steps, break_evens, disagreements
from benchmarks.compile_vs_run.cases import Case
from tests.benchmarks.compile_vs_run.examples import MEASURED, series


def test_break_even_is_the_first_step_from_which_unrolling_is_ahead_for_good():
    draw = np.random.default_rng(0)
    for _ in range(200):
        # Quarters, so that sums are exact and ties happen.
        scan, unrolled = (tuple(draw.integers(0, 24, 2) / 4) for _ in range(2))
        found = break_even_steps(scan, unrolled)
        is_ahead = [unrolled[0] + steps * unrolled[1] <= scan[0] + steps * scan[1] for steps in range(200)]
        if math.isinf(found):
            assert not is_ahead[-1] or unrolled[1] > scan[1]
        else:
            assert all(is_ahead[int(found) :]), (scan, unrolled)
            assert found == 0 or not is_ahead[int(found) - 1], (scan, unrolled)


def test_break_even_of_a_plain_case():
    assert break_even_steps((4.0, 2.0), (10.0, 1.5)) == 12
    assert break_even_steps((4.0, 2.0), (10.1, 1.5)) == 13
    assert break_even_steps((4.0, 1.5), (10.0, 2.0)) == math.inf
    assert break_even_steps((4.0, 2.0), (3.0, 2.0)) == 0


def test_unrolled_cases_are_compared_with_their_own_scan():
    scan, unrolled = Case(family="bert", remat="full"), Case(family="bert", remat="full", unroll=0)
    faster = dataclasses.replace(
        MEASURED,
        builds=[build._replace(compile=build.compile + 10) for build in MEASURED.builds],
        run_seconds=[0.7] * 5,
    )
    other = Case(family="albert", remat="full", unroll=0)
    (found,) = break_evens(series({scan: MEASURED, unrolled: faster, other: faster}))
    assert found.case == unrolled
    assert found.less_step_seconds == pytest.approx(0.5)
    assert found.more_build_seconds == pytest.approx(10.0)
    assert found.steps in (20, 21)
    assert found.beyond_spread
    (same,) = break_evens(series({scan: MEASURED, unrolled: MEASURED}))
    assert (same.steps, same.beyond_spread) == (0, False)


def test_cases_without_runs_have_no_break_even():
    idle = dataclasses.replace(MEASURED, run_seconds=[])
    scan, unrolled = Case(family="bert"), Case(family="bert", unroll=0)
    assert break_evens(series({scan: idle, unrolled: MEASURED})) == []
    assert break_evens(series({scan: MEASURED, unrolled: idle})) == []


@pytest.mark.parametrize(("loss", "differing"), [(10.005, 0), (10.05, 1)])
def test_executions_of_one_model_have_to_agree(loss, differing):
    scan, other = Case(family="bert"), Case(family="bert", unroll=0, remat="full")
    deeper = Case(family="bert", num_layers=24)
    changed = {other: dataclasses.replace(MEASURED, outcome=[loss, 2.0])}
    changed[deeper] = dataclasses.replace(MEASURED, outcome=[99.0, 2.0])
    found = disagreements(series({scan: MEASURED, **changed}))
    assert len(found) == differing
    assert all(str(other) in line for line in found)


def test_medians_and_quartiles_are_those_of_the_runs():
    assert MEASURED.build_seconds == pytest.approx(5.5)
    assert MEASURED.stages == (0.1, 0.2, 5.0)
    assert MEASURED.step == pytest.approx((1.2, 1.1, 1.3))
    assert dataclasses.replace(MEASURED, run_seconds=[]).step is None
