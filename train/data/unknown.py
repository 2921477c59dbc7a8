"""How much of a text a vocabulary does not know: said of every set, refused where a model would see nothing else."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Int

from flax_lite.tokenization import Tokenizer
from train.errors import UserError

# From here on most of what a model reads is the one piece that stands for all others.
_MOST = 0.5


def unknown_share(counts: Int[np.ndarray, "V"], tokenizer: Tokenizer) -> float:
    """The share of unknown pieces among those of a text.

    Args:
        counts: how often each id occurs; those of the other specials are not of the text.
        tokenizer: whose ids these are.

    Returns:
        0 for no text.
    """
    own = counts[: tokenizer.vocab_size].copy()
    own[[id_ for id_ in tokenizer.special_ids if id_ != tokenizer.unk_id]] = 0
    return float(own[tokenizer.unk_id] / max(own.sum(), 1))


def count_ids(sequences: Iterable[Int[np.ndarray, "t"]], vocab_size: int) -> Int[np.ndarray, "V"]:
    """How often each id occurs in some sequences."""
    counts = np.zeros(vocab_size, np.int64)
    for part in _parts(sequences):
        counts += np.bincount(part, minlength=vocab_size)
    return counts


def _parts(sequences: Iterable[Int[np.ndarray, "t"]]) -> Iterator[np.ndarray]:
    """Many at a time: bincount takes time for each piece of the vocabulary as well."""
    part: list[np.ndarray] = []
    size = 0
    for sequence in sequences:
        part.append(sequence)
        size += len(sequence)
        if size > 2**20:
            yield np.concatenate(part)
            part, size = [], 0
    if part:
        yield np.concatenate(part)


def describe_unknown(share: float) -> str:
    """The share for a person."""
    return f"{share:.2%} of them unknown"


def unknown_notes(shares: dict[str, float]) -> list[str]:
    """A line for each text of which most is unknown, by its name."""
    return [
        f"note: {share:.0%} of the pieces of the {name} are unknown to the tokenizer, and all alike to the model: a "
        "tokenizer of these texts' language and script would tell them apart"
        for name, share in shares.items()
        if share >= _MOST
    ]


def check_known(share: float, tokenizer: Tokenizer, name: str) -> None:
    """Sees to it that there is something to learn from.

    Raises:
        UserError: if every piece is unknown.
    """
    if share == 1.0:
        raise UserError(
            f"every piece of the {name} is {tokenizer.specials.unk} to the tokenizer ({tokenizer.kind}, "
            f"{tokenizer.vocab_size:,} pieces): there is nothing to learn. Give a tokenizer of the texts' language and "
            "script; WordPiece takes words of over 100 letters for unknown too, tokenizer=train:unigram:8000 does not"
        )
