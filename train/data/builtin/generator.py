"""Generates documents of the built-in corpus; document `index` of a split is the same on every machine."""

from collections.abc import Iterator

from train.data.builtin.draws import Draws
from train.data.builtin.grammar import SPLITS, Document, Grammar

DEFAULT_GRAMMAR = Grammar()


def generate_document(seed: int, split: str, index: int, *, grammar: Grammar = DEFAULT_GRAMMAR) -> Document:
    """Generates document `index` of a split.

    Args:
        seed: a non-negative integer; documents of different seeds are unrelated.
        split: "train" or "heldout"; for every seed, no (person, item) pair occurs in both.
        index: a non-negative integer; no document depends on another.
        grammar: the grammar to derive the document from.

    Returns:
        The document: its sentences with their events and roles.

    Raises:
        ValueError: if the split is unknown, or the seed or index is negative.
    """
    if split not in SPLITS:
        raise ValueError(f"the built-in corpus has the splits {' and '.join(SPLITS)}, not {split!r}")
    if seed < 0 or index < 0:
        raise ValueError(f"a built-in document needs seed >= 0 and index >= 0, got seed={seed}, index={index}")
    return grammar.derive(split, Draws(seed, SPLITS.index(split), index))


def generate_corpus(
    seed: int, split: str, num_documents: int, *, grammar: Grammar = DEFAULT_GRAMMAR
) -> Iterator[Document]:
    """Generates documents 0 to `num_documents - 1` of a split in order; see `generate_document`."""
    return (generate_document(seed, split, index, grammar=grammar) for index in range(num_documents))
