"""Masked-token selection for pretraining: ALBERT's n-grams of whole words, with BERT's single tokens as a special case.

Pure NumPy on one unpadded row, so that it runs in data workers that never load jax.
"""

import functools
from bisect import bisect_right
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class MaskedRow(NamedTuple):
    """One row after masking; P slots are always present, unused ones hold position 0, id 0 and weight 0.

    Attributes:
        input_ids: the row with the chosen tokens replaced.
        positions: where tokens were chosen, ascending.
        original_ids: the tokens that stood there.
        weights: 1.0 for a chosen token, 0.0 for an unused slot.
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
    """Chooses n-grams of whole words and hides them.

    p(n) = (1/n) / sum_{k=1}^{N} 1/k for n = 1..N, with N = `max_ngram`, or the number of words left before the next
    token that is no candidate, where that is smaller. N-grams are tried in random order until
    min(P, max(1, round(`masked_fraction` * T))) tokens are chosen: one that would exceed this is shortened by whole
    words, then skipped; one that overlaps an earlier one is skipped. Each chosen token becomes the mask in 80%, stays
    in 10% and becomes a random id of the whole vocabulary in 10% of cases.

    `max_ngram=1, whole_word=False` is BERT's original masking.

    Differences to Google's code: n is drawn from `rng` (there from NumPy's global state, so no run could be repeated),
    and an n-gram or a word never continues across a token that is no candidate (there it may span the separator, whose
    two sides need not be adjacent text). An n-gram that would run over the end is renormalized, there cut short.

    Args:
        ids: the tokens of the row, specials included, padding excluded.
        starts_word: whether a token begins a word; a candidate after a token that is no candidate always does.
        is_candidate: whether a token may be chosen; false for specials.
        rng: source of all draws.
        max_predictions: P, the number of slots returned.
        mask_id: id of the mask token.
        vocab_size: V; random replacements are drawn from 0..V-1, specials included, as in Google's code.
        max_ngram: largest number of words in an n-gram.
        masked_fraction: share of the T tokens to choose.
        whole_word: whether words are kept whole; if not, every token counts as a word.

    Returns:
        The masked row and its targets; `ids` is left as it was.

    Raises:
        ValueError: if `max_predictions` or `max_ngram` is below 1 or `masked_fraction` is outside [0, 1].

    Source: Lan et al. 2020 (arXiv:1909.11942), section 3.1 and 4.1; google-research/albert
        create_pretraining_data.py, create_masked_lm_predictions.
    """
    if max_predictions < 1 or max_ngram < 1 or not 0 <= masked_fraction <= 1:
        raise ValueError(
            "masking needs max_predictions >= 1, max_ngram >= 1 and 0 <= masked_fraction <= 1, got "
            f"max_predictions={max_predictions}, max_ngram={max_ngram}, masked_fraction={masked_fraction}"
        )
    budget = min(max_predictions, max(1, round(masked_fraction * len(ids)))) if masked_fraction else 0
    boundaries, is_start = _word_boundaries(starts_word if whole_word else is_candidate, is_candidate)
    chosen = _choose_ngrams(boundaries, is_start, len(ids), budget, max_ngram, rng)
    return _hide(ids, chosen, max_predictions, mask_id, vocab_size, rng)


def _word_boundaries(
    starts_word: Bool[np.ndarray, "T"], is_candidate: Bool[np.ndarray, "T"]
) -> tuple[list[int], Bool[np.ndarray, "W"]]:
    """Returns every place where a word begins or a token is no candidate, and which of these are words.

    A word reaches to the next boundary, hence the length of the row closes the list.
    """
    begins = starts_word & is_candidate
    begins[1:] |= is_candidate[1:] & ~is_candidate[:-1]
    begins[:1] = is_candidate[:1]
    places = (begins | ~is_candidate).nonzero()[0]
    boundaries = places.tolist()
    boundaries.append(len(begins))
    return boundaries, begins[places]


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
    room = _words_ahead(is_start, max_ngram)
    cumulative = [_ngram_cumulative(n) for n in range(max_ngram + 1)]
    covered = bytearray(num_tokens)
    taken = 0
    for word, draw in zip(words.tolist(), rng.random(len(words)).tolist(), strict=True):
        if taken >= budget:
            break
        start = boundaries[word]
        n = 1 + bisect_right(cumulative[room[word]], draw)
        while n > 1 and taken + boundaries[word + n] - start > budget:
            n -= 1
        end = boundaries[word + n]
        if taken + end - start > budget or covered.find(1, start, end) >= 0:
            continue
        covered[start:end] = b"\x01" * (end - start)
        taken += end - start
    return np.frombuffer(covered, np.bool_).nonzero()[0]


def _words_ahead(is_start: Bool[np.ndarray, "W"], max_ngram: int) -> list[int]:
    """Returns for each boundary how many words follow one another from it, at most `max_ngram`."""
    ahead = is_start.astype(np.int64)
    run = is_start
    for _ in range(1, max_ngram):
        run = is_start[: max(len(run) - 1, 0)] & run[1:]
        ahead[: len(run)] += run
    return ahead.tolist()


@functools.cache
def _ngram_cumulative(max_ngram: int) -> tuple[float, ...]:
    """Returns P(n <= k) for k = 1..N-1 with p(n) proportional to 1/n; the number of entries <= u is n - 1."""
    weights = 1.0 / np.arange(1, max_ngram + 1)
    return tuple((weights.cumsum() / weights.sum())[:-1].tolist())


def _hide(
    ids: Int[np.ndarray, "T"],
    chosen: Int[np.ndarray, "chosen"],
    max_predictions: int,
    mask_id: int,
    vocab_size: int,
    rng: np.random.Generator,
) -> MaskedRow:
    """Replaces the chosen tokens, each by its own draw, and lays out the fixed-size targets."""
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
