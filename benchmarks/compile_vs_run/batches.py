"""A batch as a pretraining job's pipeline makes them, but for its words: they are random."""

import numpy as np

from benchmarks.compile_vs_run.cases import Sizes

# google-research/albert and google-research/bert cut one example in ten short; here it is one in four, so that small
# batches have some.
_SHORT_EVERY = 4
_MASKED_FRACTION = 0.15
_FIRST_WORD = 5  # the specials are before it


def make_batch(sizes: Sizes, rows: int) -> dict[str, np.ndarray]:
    """Pairs of segments, every fourth row cut short and padded, about 15% of a row's tokens masked.

    Args:
        sizes: V, T and P.
        rows: B.

    Returns:
        input_ids, attention_mask, token_type_ids [B, T]; masked_positions, masked_ids, masked_weights [B, P];
        sentence_label, row_weights [B].
    """
    draw = np.random.default_rng(0)
    length, predictions = sizes.sequence_length, sizes.max_predictions
    lengths = np.full(rows, length)
    lengths[::_SHORT_EVERY] = draw.integers(max(2, length // 4), max(3, length), len(lengths[::_SHORT_EVERY]))
    positions = np.arange(length)
    is_token = positions < lengths[:, None]
    first_segments = draw.integers(1, lengths)
    num_masked = np.rint(_MASKED_FRACTION * lengths).astype(int).clip(1, predictions)
    is_masked = np.arange(predictions) < num_masked[:, None]
    chosen = np.zeros((rows, predictions), int)
    for row, (own, count) in enumerate(zip(lengths, num_masked, strict=True)):
        chosen[row, :count] = np.sort(draw.choice(own, count, replace=False))
    words = draw.integers(_FIRST_WORD, sizes.vocab_size, (rows, length))
    return {
        "input_ids": np.where(is_token, words, 0).astype(np.int32),
        "attention_mask": is_token.astype(np.int32),
        "token_type_ids": (is_token & (positions >= first_segments[:, None])).astype(np.int32),
        "masked_positions": chosen.astype(np.int32),
        "masked_ids": draw.integers(_FIRST_WORD, sizes.vocab_size, (rows, predictions), np.int32) * is_masked,
        "masked_weights": is_masked.astype(np.float32),
        "sentence_label": draw.integers(0, 2, rows, np.int32),
        "row_weights": np.ones(rows, np.float32),
    }
