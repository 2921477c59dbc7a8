"""What counts as the same result."""

import numpy as np
import pytest

from benchmarks.peers.comparison import differences

MASK = np.array([[1, 1, 0]])


def test_hidden_states_are_compared_where_there_is_a_token():
    ours = {"hidden": np.zeros((1, 3, 2))}
    theirs = {"hidden": np.array([[[0, 0], [0, 3e-4], [7, 7]]])}
    assert differences(ours, theirs, MASK) == {"hidden": pytest.approx(3)}


def test_gradients_are_compared_with_the_largest_of_their_tensor_and_noise_is_none():
    ours = {"loss": np.array(1.0), "gradient/a": np.array([2.0, 1e-3]), "gradient/b": np.array([1e-9, -1e-9])}
    theirs = {**ours, "gradient/a": np.array([2.0, 1.4e-3]), "gradient/b": np.array([-1e-9, 1e-9])}
    assert differences(ours, theirs, MASK)["gradients"] == pytest.approx(2)
    theirs["gradient/b"] = np.array([1e-3, 1e-3])
    assert differences(ours, theirs, MASK)["gradients"] > 100


def test_a_value_that_is_not_a_number_is_infinitely_far():
    assert differences({"loss": np.array(1.0)}, {"loss": np.array(np.nan)}, MASK) == {"loss": np.inf}


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ({"loss": np.zeros(())}, {"loss": np.zeros(()), "gradient/x": np.zeros(2)}, "only theirs gradient/x"),
        ({"hidden": np.zeros((1, 3, 2))}, {"hidden": np.zeros((1, 3, 4))}, "shapes differ"),
        ({}, {}, "nothing to compare"),
    ],
)
def test_other_things_cannot_be_compared(ours, theirs, message):
    with pytest.raises(ValueError, match=message):
        differences(ours, theirs, MASK)
