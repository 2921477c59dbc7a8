"""Balanced weights equal those of scikit-learn."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from train.errors import UserError
from train.tasks.opening import balanced_weights


def test_balanced_weights_are_those_of_scikit_learn():
    indices = np.random.default_rng(0).choice(3, 100, p=[0.7, 0.2, 0.1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=indices)
    assert balanced_weights(indices.tolist(), "abc") == pytest.approx(tuple(expected))


def test_a_label_without_examples_raises():
    with pytest.raises(UserError, match="has the label b, d:"):
        balanced_weights([0, 2, 2], ["a", "b", "c", "d"])
