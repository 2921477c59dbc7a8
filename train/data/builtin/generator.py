"""Draws documents of the built-in corpus: document `index` of a split is the same on every machine, in any order."""

from collections.abc import Iterator

from train.data.builtin.draws import Draws
from train.data.builtin.grammar import SPLITS, Document, Grammar

DEFAULT_GRAMMAR = Grammar()


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
    return grammar.derive(split, Draws(seed, SPLITS.index(split), index))


def generate_corpus(
    seed: int, split: str, num_documents: int, *, grammar: Grammar = DEFAULT_GRAMMAR
) -> Iterator[Document]:
    """Draws documents 0 to `num_documents - 1` of a split in order; see `generate_document`."""
    return (generate_document(seed, split, index, grammar=grammar) for index in range(num_documents))
