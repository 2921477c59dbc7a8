"""Choices that are the same on every machine."""

from collections.abc import Iterator

import numpy as np

# One block holds the draws of a document: its setting takes 8, its rings and first agent 4, an event 1.
_DRAWS_PER_BLOCK = 32


class Draws:
    """Branch choices from a bit generator's raw 64-bit words, whose stream NumPy keeps equal across versions.

    Args:
        key: whole numbers from 0. Zeros at the end of up to four of them make no difference.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))
        self._block: Iterator[float] = iter(())

    def __call__(self, branches: int) -> int:
        """One of `branches` equally likely numbers from 0."""
        draw = next(self._block, None)
        if draw is None:
            # The upper 53 bits of each word, as a float in [0, 1).
            self._block = iter(((self._bits.random_raw(_DRAWS_PER_BLOCK) >> np.uint64(11)) * 2.0**-53).tolist())
            draw = next(self._block)
        return int(draw * branches)
