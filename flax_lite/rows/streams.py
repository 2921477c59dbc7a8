"""Independent random streams, each for one purpose in one epoch of one run."""

import numpy as np


def stream(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    """A generator that depends on these three numbers, 0 or more each, and on nothing else."""
    return np.random.default_rng([seed, epoch, purpose])
