"""Masked-token selection for pretraining: ALBERT's n-gram masking of whole words, and BERT's masking of single tokens.

Works on one unpadded row in NumPy, so that data workers need no JAX.
"""

import functools
from bisect import bisect_right
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class MaskedRow(NamedTuple):
    """A masked row with P masked positions; unused ones, at the end, have position 0, id 0 and weight 0.

    Attributes:
        input_ids: the row with the chosen tokens replaced.
        positions: the masked positions, ascending.
        original_ids: the original tokens at these positions.
        weights: 1.0 for a masked position, 0.0 for an unused slot.
    """

    input_ids: Int[np.ndarray, "T"]
    positions: Int[np.ndarray, "P"]
    original_ids: Int[np.ndarray, "P"]
    weights: Float[np.ndarray, "P"]


def mask_ngrams(
    ids: Int[np.ndarray, "T"],
    starts_word: Bool[np.ndarray, "T"],
    is_candidate: Bool[np.ndarray, "T"],
    rng: np.random.Generator,
    *,
    max_predictions: int,
    mask_id: int,
    vocab_size: int,
    max_ngram: int = 3,
    masked_fraction: float = 0.15,
    whole_word: bool = True,
) -> MaskedRow:
    """Chooses n-grams of words at random and replaces their tokens.

    The length of an n-gram is drawn from

        p(n) = (1/n) / sum_{k=1}^{N} (1/k),    n = 1, ..., N,

    with N = `max_ngram`, or the number of words before the next token that is not a candidate, if that is smaller.
    Start words are tried in random order until min(P, max(1, round(`masked_fraction` * T))) tokens are chosen. An
    n-gram that exceeds this budget is shortened by whole words, or skipped if its first word does not fit; one that
    overlaps an earlier n-gram is skipped. Each chosen token is replaced by [MASK] (80%) or by a random id (10%), or
    stays unchanged (10%). `max_ngram=1, whole_word=False` is BERT's original masking.

    Differences from Google's code: n is drawn from `rng`, not from NumPy's global state. N-grams and words never cross
    a token that is not a candidate, such as the separator of two segments. If fewer than `max_ngram` words are left,
    p(n) is renormalized; Google's code shortens the drawn n-gram.

    Args:
        ids: tokens of the row, with special tokens, without padding.
        starts_word: whether a token starts a word; a candidate after a non-candidate always does.
        is_candidate: whether a token may be chosen; false for special tokens.
        rng: source of all random draws.
        max_predictions: P, the number of slots for masked positions.
        mask_id: id of [MASK].
        vocab_size: V; random ids are drawn from 0..V-1, including special tokens, as in Google's code.
        max_ngram: maximum number of words in an n-gram.
        masked_fraction: fraction of the T tokens to choose.
        whole_word: whether words are masked as a whole; otherwise every token counts as a word.

    Returns:
        The masked row and its targets.

    Raises:
        ValueError: if `max_predictions` or `max_ngram` is below 1, or `masked_fraction` is outside [0, 1].

    Source: Lan et al. 2020 (arXiv:1909.11942), sections 3.1 and 4.1; google-research/albert create_pretraining_data.py,
        create_masked_lm_predictions.
    """
    if max_predictions < 1 or max_ngram < 1 or not 0 <= masked_fraction <= 1:
        raise ValueError(
            "masking needs max_predictions >= 1, max_ngram >= 1 and 0 <= masked_fraction <= 1, got "
            f"max_predictions={max_predictions}, max_ngram={max_ngram}, masked_fraction={masked_fraction}"
        )
    budget = min(max_predictions, max(1, round(masked_fraction * len(ids)))) if masked_fraction else 0
    boundaries, is_start = _word_boundaries(starts_word if whole_word else is_candidate, is_candidate)
    chosen = _choose_ngrams(boundaries, is_start, len(ids), budget, max_ngram, rng)
    return _replace_tokens(ids, chosen, max_predictions, mask_id, vocab_size, rng)


def _word_boundaries(
    starts_word: Bool[np.ndarray, "T"], is_candidate: Bool[np.ndarray, "T"]
) -> tuple[list[int], Bool[np.ndarray, "W"]]:
    """Returns the positions of word starts and of tokens that are not candidates, and which of them are word starts.

    A word ends at the next boundary, so the list of boundaries ends with the length of the row.
    """
    is_start = starts_word & is_candidate
    is_start[1:] |= is_candidate[1:] & ~is_candidate[:-1]
    is_start[:1] = is_candidate[:1]
    boundaries = (is_start | ~is_candidate).nonzero()[0]
    return [*boundaries.tolist(), len(is_start)], is_start[boundaries]


def _choose_ngrams(
    boundaries: list[int],
    is_start: Bool[np.ndarray, "W"],
    num_tokens: int,
    budget: int,
    max_ngram: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "chosen"]:
    """Returns the positions of the chosen tokens, ascending."""
    words = is_start.nonzero()[0]
    rng.shuffle(words)
    longest = _words_ahead(is_start, max_ngram)
    cdfs = [_ngram_cdf(n) for n in range(max_ngram + 1)]
    chosen = bytearray(num_tokens)
    num_chosen = 0
    for word, draw in zip(words.tolist(), rng.random(len(words)).tolist(), strict=True):
        if num_chosen >= budget:
            break
        start = boundaries[word]
        n = 1 + bisect_right(cdfs[longest[word]], draw)
        while n > 1 and num_chosen + boundaries[word + n] - start > budget:
            n -= 1
        end = boundaries[word + n]
        if num_chosen + end - start > budget or chosen.find(1, start, end) >= 0:
            continue
        chosen[start:end] = b"\x01" * (end - start)
        num_chosen += end - start
    return np.frombuffer(chosen, np.bool_).nonzero()[0]


def _words_ahead(is_start: Bool[np.ndarray, "W"], max_ngram: int) -> list[int]:
    """Returns for each boundary the number of consecutive words from it, at most `max_ngram`."""
    ahead = is_start.astype(np.int64)
    run = is_start
    for _ in range(1, max_ngram):
        run = is_start[: max(len(run) - 1, 0)] & run[1:]
        ahead[: len(run)] += run
    return ahead.tolist()


@functools.cache
def _ngram_cdf(max_ngram: int) -> tuple[float, ...]:
    """Returns P(n <= k) for k = 1..N-1, with p(n) = (1/n) / sum_{k=1}^{N} (1/k).

    For a uniform draw u, n - 1 is the number of entries <= u.
    """
    weights = 1.0 / np.arange(1, max_ngram + 1)
    return tuple((weights.cumsum() / weights.sum())[:-1].tolist())


def _replace_tokens(
    ids: Int[np.ndarray, "T"],
    chosen: Int[np.ndarray, "chosen"],
    max_predictions: int,
    mask_id: int,
    vocab_size: int,
    rng: np.random.Generator,
) -> MaskedRow:
    """Replaces each chosen token by [MASK] (80%), itself (10%) or a random id (10%), drawn independently."""
    count = len(chosen)
    targets = ids[chosen]
    action, replacement = rng.random((2, count))
    random_ids = (replacement * vocab_size).astype(ids.dtype)
    masked = ids.copy()
    masked[chosen] = np.where(action < 0.8, mask_id, np.where(action < 0.9, targets, random_ids))
    positions, original_ids = np.zeros((2, max_predictions), np.int32)
    weights = np.zeros(max_predictions, np.float32)
    positions[:count] = chosen
    original_ids[:count] = targets
    weights[:count] = 1.0
    return MaskedRow(masked, positions, original_ids, weights)
