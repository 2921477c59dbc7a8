"""Draws documents of the built-in corpus: document `index` of a split is the same on every machine, in any order."""

from collections.abc import Iterator

import numpy as np

from train.data.builtin.grammar import SPLITS, Document, Grammar

DEFAULT_GRAMMAR = Grammar()

# One block holds the draws of a document: its setting takes 8, its rings and first agent 4, an event 1.
_DRAWS_PER_BLOCK = 32


class _Draws:
    """Branch choices from a bit generator's raw 64-bit words, whose stream NumPy keeps equal across versions."""

    def __init__(self, seed: int, split: str, index: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, SPLITS.index(split), index]))
        self._block: Iterator[float] = iter(())

    def __call__(self, branches: int) -> int:
        draw = next(self._block, None)
        if draw is None:
            # The upper 53 bits of each word, as a float in [0, 1).
            self._block = iter(((self._bits.random_raw(_DRAWS_PER_BLOCK) >> np.uint64(11)) * 2.0**-53).tolist())
            draw = next(self._block)
        return int(draw * branches)


def generate_document(seed: int, split: str, index: int, *, grammar: Grammar = DEFAULT_GRAMMAR) -> Document:
    """Draws document `index` of a split, "train" or "heldout".

    Args:
        seed: any integer from 0; documents of different seeds are unrelated.
        split: the held-out split never shows a (person, item) pair of the training split, for any seed.
        index: from 0; no document depends on another.
        grammar: the grammar to derive it from.

    Returns:
        The document: its sentences, and the events and roles they tell.

    Raises:
        ValueError: an unknown split, or a negative seed or index.
    """
    if split not in SPLITS:
        raise ValueError(f"the built-in corpus has the splits {' and '.join(SPLITS)}, not {split!r}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index of a built-in document count from 0, but got seed {seed} and index {index}")
    return grammar.derive(split, _Draws(seed, split, index))


def generate_corpus(
    seed: int, split: str, num_documents: int, *, grammar: Grammar = DEFAULT_GRAMMAR
) -> Iterator[Document]:
    """Draws documents 0 to `num_documents - 1` of a split in order; see `generate_document`."""
    return (generate_document(seed, split, index, grammar=grammar) for index in range(num_documents))
