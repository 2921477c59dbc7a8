"""The difference between two results."""

import numpy as np
import pytest

from benchmarks.peers.comparison import differences

MASK = np.array([[1, 1, 0]])


def test_hidden_states_are_compared_at_tokens_only():
    reference = {"hidden": np.zeros((1, 3, 2))}
    rival = {"hidden": np.array([[[0, 0], [0, 3e-4], [7, 7]]])}
    assert differences(reference, rival, MASK) == {"hidden": pytest.approx(3)}


def test_gradients_are_relative_to_their_tensor_and_noise_counts_as_equal():
    reference = {"loss": np.array(1.0), "gradient/a": np.array([2.0, 1e-3]), "gradient/b": np.array([1e-9, -1e-9])}
    rival = {**reference, "gradient/a": np.array([2.0, 1.4e-3]), "gradient/b": np.array([-1e-9, 1e-9])}
    assert differences(reference, rival, MASK)["gradients"] == pytest.approx(2)
    rival["gradient/b"] = np.array([1e-3, 1e-3])
    assert differences(reference, rival, MASK)["gradients"] > 100


def test_nan_is_infinitely_far():
    assert differences({"loss": np.array(1.0)}, {"loss": np.array(np.nan)}, MASK) == {"loss": np.inf}


@pytest.mark.parametrize(
    ("reference", "rival", "message"),
    [
        ({"loss": np.zeros(())}, {"loss": np.zeros(()), "gradient/x": np.zeros(2)}, "only the rival gradient/x"),
        ({"hidden": np.zeros((1, 3, 2))}, {"hidden": np.zeros((1, 3, 4))}, "shapes differ"),
        ({}, {}, "nothing to compare"),
    ],
)
def test_results_of_other_names_or_shapes_are_refused(reference, rival, message):
    with pytest.raises(ValueError, match=message):
        differences(reference, rival, MASK)
