"""The share of unknown tokens in a text: reported for every data set, and an error where all tokens are unknown."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Int

from flax_lite.tokenization import Tokenizer
from train.errors import UserError

# From this share on, most of what a model reads is the unknown token.
_MOSTLY_UNKNOWN = 0.5


def unknown_share(counts: Int[np.ndarray, "V"], tokenizer: Tokenizer) -> float:
    """Returns the share of unknown tokens among the tokens of a text.

    Args:
        counts: how often each id occurs. Special tokens other than the unknown token are not counted as text.
        tokenizer: the tokenizer of these ids.

    Returns:
        A number from 0 to 1; 0 for an empty text.
    """
    text_counts = counts[: tokenizer.vocab_size].copy()
    text_counts[[id_ for id_ in tokenizer.special_ids if id_ != tokenizer.unk_id]] = 0
    return float(text_counts[tokenizer.unk_id] / max(text_counts.sum(), 1))


def count_ids(sequences: Iterable[Int[np.ndarray, "t"]], vocab_size: int) -> Int[np.ndarray, "V"]:
    """Counts how often each id occurs in the sequences."""
    counts = np.zeros(vocab_size, np.int64)
    for chunk in _chunks(sequences):
        counts += np.bincount(chunk, minlength=vocab_size)
    return counts


def _chunks(sequences: Iterable[Int[np.ndarray, "t"]]) -> Iterator[np.ndarray]:
    """Concatenates sequences to a million ids at a time, because each bincount also costs time for the vocabulary."""
    chunk: list[np.ndarray] = []
    size = 0
    for sequence in sequences:
        chunk.append(sequence)
        size += len(sequence)
        if size > 2**20:
            yield np.concatenate(chunk)
            chunk, size = [], 0
    if chunk:
        yield np.concatenate(chunk)


def describe_unknown(share: float) -> str:
    """Formats the share for a log line."""
    return f"{share:.2%} of them unknown"


def unknown_notes(shares: dict[str, float]) -> list[str]:
    """Returns a line for each text, given by name, of which most tokens are unknown."""
    return [
        f"note: {share:.0%} of the tokens of the {name} are unknown to the tokenizer, so the model cannot distinguish "
        "them. Use a tokenizer for the language and script of these texts"
        for name, share in shares.items()
        if share >= _MOSTLY_UNKNOWN
    ]


def check_known(share: float, tokenizer: Tokenizer, name: str) -> None:
    """Checks that not every token of a text is unknown.

    Raises:
        UserError: if every token is unknown.
    """
    if share == 1.0:
        raise UserError(
            f"every token of the {name} is {tokenizer.specials.unk} to the tokenizer ({tokenizer.kind}, "
            f"{tokenizer.vocab_size:,} pieces), so there is nothing to learn. Give a tokenizer for the language and "
            "script of the texts. WordPiece also maps words of more than 100 characters to the unknown token; "
            "tokenizer=train:unigram:8000 does not"
        )
