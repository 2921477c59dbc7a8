"""The choice of the best evaluation, and patience."""

import math
from types import SimpleNamespace

import pytest

from train.run.best import Best


def best(end, patience=None, kept=True, found=None):
    return Best(SimpleNamespace(best=("score", end), patience=patience), kept, found)


@pytest.mark.parametrize(
    ("end", "scores", "step"),
    [
        ("max", [0.5, 0.7, 0.6], 2),
        ("min", [0.5, 0.7, 0.6], 1),
        ("max", [0.7, 0.7], 1),  # ties go to the first
        ("min", [0.7, 0.7], 1),
        ("max", [math.nan, -0.2, math.inf], 2),
        ("min", [math.nan], None),
    ],
)
def test_the_best_is_the_highest_or_the_lowest(end, scores, step):
    chosen = best(end)
    improved = [chosen.update(number, {"score": score, "loss": 0.0}) for number, score in enumerate(scores, start=1)]
    assert chosen.step == step
    assert [number for number, better in enumerate(improved, start=1) if better][-1:] == [step] * (step is not None)


def test_the_best_of_earlier_runs_counts():
    found = {"step": 4, "metric": "score", "value": 0.6}
    chosen = best("max", found=found)
    assert not chosen.update(6, {"score": 0.5})
    assert chosen.found == found
    assert chosen.update(8, {"score": 0.7})
    assert chosen.found == {"step": 8, "metric": "score", "value": 0.7}


def test_there_is_no_best_without_keep_best_or_without_the_metric():
    assert not best("max", kept=False).update(1, {"score": 1.0})
    assert not best("max").update(1, {"loss": 1.0})


@pytest.mark.parametrize(("patience", "step", "old"), [(2, 14, False), (2, 20, True), (None, 1000, False)])
def test_patience_counts_evaluations_since_the_best(patience, step, old):
    chosen = best("max", patience)
    assert not chosen.is_too_old(step, 5)
    chosen.update(10, {"score": 1.0})
    assert chosen.is_too_old(step, 5) == old


@pytest.mark.parametrize(
    ("scores", "ends_at"),
    [
        ([0.5, 0.4, 0.4], 3),
        ([0.5, math.nan, 0.4, 0.4], 4),
        ([0.5, 0.4, math.nan, math.inf, 0.4], 5),
        ([0.5, math.nan, 0.6, 0.4, 0.4], 5),  # an improvement resets the count
        ([math.nan, math.nan, math.nan], None),
    ],
)
def test_results_that_are_not_finite_do_not_end_a_run(scores, ends_at):
    """Each result is recorded twice, as after an interruption, and counts once."""
    chosen, ended = best("max", patience=2), None
    for number, score in enumerate(scores, start=1):
        for _ in range(2):
            chosen.update(10 * number, {"score": score})
        chosen = best("max", patience=2, found=chosen.found)
        if ended is None and chosen.is_too_old(10 * number, 10):
            ended = number
    assert ended == ends_at
