"""Random choices that are the same on every machine."""

from collections.abc import Iterator

import numpy as np

# One block suffices for most documents: the setting takes 8 draws, the rings and the first agent 4, each event 1.
_DRAWS_PER_BLOCK = 32


class Draws:
    """Draws branches from the raw 64-bit words of a bit generator, whose stream NumPy keeps stable across versions.

    Args:
        key: non-negative integers that seed the generator. In keys of up to four, trailing zeros make no difference.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))
        self._block: Iterator[float] = iter(())

    def __call__(self, branches: int) -> int:
        """Draws an integer from 0 to `branches - 1` uniformly."""
        draw = next(self._block, None)
        if draw is None:
            # The upper 53 bits of each word, as a float in [0, 1).
            self._block = iter(((self._bits.random_raw(_DRAWS_PER_BLOCK) >> np.uint64(11)) * 2.0**-53).tolist())
            draw = next(self._block)
        return int(draw * branches)
