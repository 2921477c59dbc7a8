"""The causes that curves support: divergence, underfitting, or neither; and the losses that they are compared with."""

import math

import numpy as np
import pytest

from train.tasks.rows import Row
from train.tasks.scores.diagnosis import (
    CURE_OF_DIVERGENCE,
    CURE_OF_UNDERFITTING,
    Curve,
    ReferenceLosses,
    diagnose,
    reference_losses,
)

COIN = ReferenceLosses(constant=math.log(2), initial=math.log(2))
FLAT = (0.70, 0.69, 0.70, 0.69, 0.70, 0.69, 0.70, 0.69, 0.69, 0.69)


def curve(losses, steps=1000, norms=None):
    return Curve(steps=steps, losses=tuple(losses), gradient_norms=tuple(norms or [1.0] * len(losses)))


def test_a_loss_that_stays_near_the_entropy_is_underfitting():
    found = diagnose(curve(FLAT), COIN)
    assert found.startswith("Underfitting: the training loss, 0.69, is still near that of a constant prediction, 0.693")
    assert found.endswith(CURE_OF_UNDERFITTING)
    assert "lower learning rate" not in found
    assert "few" not in found


def test_thirty_steps_are_few():
    assert f"0.693. 30 steps are few. {CURE_OF_UNDERFITTING}" in diagnose(curve(FLAT, steps=30), COIN)
    fallen = diagnose(curve((0.7, 0.6, 0.5), steps=30), COIN)
    assert "fell to 0.5" in fallen
    assert fallen.endswith("but 30 steps are few. Train for more steps (epochs).")
    assert "30 steps are few" in diagnose(Curve(steps=30, losses=(), gradient_norms=()))


@pytest.mark.parametrize(
    ("losses", "norms", "sign"),
    [
        ((0.7, 0.5, 0.4, 0.3, 0.5, 0.7, 0.7, 0.7), None, "rose from 0.35 to 0.7"),
        ((0.7, 3.0, 1.5, 0.7, 0.7, 0.7, 0.7, 0.7), None, "peaked at 3 and ended at 0.7"),
        (FLAT, [1.0] * 8 + [40.0] * 2, "gradient norm grew from 1 to 40"),
        (FLAT, [2.0] * 4 + [0.01] * 6, "gradients vanished (norm 2, then 0.01)"),
        ((0.7, math.nan), None, "the loss was not finite"),
    ],
)
def test_divergence_has_its_own_cure(losses, norms, sign):
    found = diagnose(curve(losses, norms=norms), COIN)
    assert found.startswith("Training diverged: ")
    assert sign in found
    assert found.endswith(CURE_OF_DIVERGENCE)
    assert "higher learning rate" not in found


def test_a_model_that_fits_its_training_set_gets_no_advice_on_rates():
    found = diagnose(curve((0.7, 0.5, 0.3, 0.1, 0.05, 0.01), norms=[9, 5, 3, 1, 0.1, 0.01]), COIN)
    assert found.startswith("Not underfitting: the training loss fell to")
    assert "learning rate" not in found


def test_an_unknown_entropy_is_replaced_by_the_first_loss():
    assert "still near where it began, 5" in diagnose(curve((5.0, 5.0, 5.1, 5.0)))
    assert diagnose(curve((5.0, 4.0, 3.0, 2.0))).startswith("Not underfitting: the training loss fell to 2")


def test_a_curve_is_that_of_the_training_rows():
    rows = [
        {"step": 2, "split": "train", "loss": 9.0, "loss_mean": 1.0, "grad_norm": 3.0},
        {"step": 2, "split": "eval", "loss": 8.0},
        {"step": 4, "split": "train", "loss": 9.0, "loss_mean": None, "grad_norm": None},
    ]
    found = Curve.of(rows)
    assert (found.steps, found.losses[0], found.gradient_norms[0]) == (4, 1.0, 3.0)
    assert math.isnan(found.losses[1])
    assert len(found.losses) == 2


def rows(name, *labels):
    return [Row(n, (np.zeros(2, np.int32),), (2,), {name: np.asarray(label)}) for n, label in enumerate(labels)]


def test_reference_losses_are_those_of_constant_predictions():
    labels = rows("labels", 0, 0, 0, 1)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    found = reference_losses("classification", "single_label", labels, 2)
    assert (found.constant, found.initial) == (pytest.approx(entropy), math.log(2))
    balanced = reference_losses("classification", "single_label", labels, 2, balanced=True)
    assert balanced.constant == pytest.approx(math.log(2))
    tags = reference_losses("tags", "single_label", rows("tags", (-1, 0, 0), (0, 1, -1)), 3)
    assert (tags.constant, tags.initial) == (pytest.approx(entropy), math.log(3))
    numbers = reference_losses("classification", "regression", rows("labels", [1.0], [3.0]), 1)
    assert (numbers.constant, numbers.initial) == (1.0, 5.0)
    several = reference_losses("classification", "multi_label", rows("labels", [1.0, 0.0], [1.0, 1.0]), 2)
    assert (several.constant, several.initial) == (pytest.approx(math.log(2) / 2), math.log(2))
    assert reference_losses("spans", "single_label", labels, 0) is None
