"""Independent random streams, one for each purpose in each epoch of a run."""

import numpy as np


def stream(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    """Returns a random generator that depends only on these three non-negative numbers."""
    return np.random.default_rng([seed, epoch, purpose])
