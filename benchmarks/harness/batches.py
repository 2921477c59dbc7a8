"""Batches with the padding and masking of a pretraining pipeline, and random words."""

import numpy as np

_MASKED_FRACTION = 0.15
_FIRST_WORD = 5  # lower ids are special tokens
_IGNORED = -100  # Hugging Face's label of a token without a prediction


def random_batch(lengths: np.ndarray, length: int, vocab_size: int, predictions: int) -> dict[str, np.ndarray]:
    """Draws a batch of two-segment rows with about 15% of their tokens masked; the same batch for the same arguments.

    Args:
        lengths: tokens of each row [B]; the rest is padding.
        length: T.
        vocab_size: V.
        predictions: P.

    Returns:
        input_ids, attention_mask, token_type_ids [B, T]; masked_positions, masked_ids, masked_weights [B, P];
        sentence_label, row_weights [B].
    """
    draw, rows = np.random.default_rng(0), len(lengths)
    column = np.arange(length)
    is_token = column < lengths[:, None]
    first_segments = draw.integers(1, lengths)
    num_masked = np.rint(_MASKED_FRACTION * lengths).astype(int).clip(1, predictions)
    is_masked = np.arange(predictions) < num_masked[:, None]
    positions = np.zeros((rows, predictions), np.int32)
    for row, (tokens, count) in enumerate(zip(lengths, num_masked, strict=True)):
        positions[row, :count] = np.sort(draw.choice(tokens, count, replace=False))
    words = draw.integers(_FIRST_WORD, vocab_size, (rows, length), np.int32)
    return {
        "input_ids": words * is_token,
        "attention_mask": is_token.astype(np.int32),
        "token_type_ids": (is_token & (column >= first_segments[:, None])).astype(np.int32),
        "masked_positions": positions,
        "masked_ids": draw.integers(_FIRST_WORD, vocab_size, (rows, predictions), np.int32) * is_masked,
        "masked_weights": is_masked.astype(np.float32),
        "sentence_label": draw.integers(0, 2, rows, np.int32),
        "row_weights": np.ones(rows, np.float32),
    }


def token_labels(batch: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the masked words as labels [B, T], for implementations that predict every token."""
    labels = np.full_like(batch["input_ids"], _IGNORED)
    rows, columns = np.nonzero(batch["masked_weights"])
    labels[rows, batch["masked_positions"][rows, columns]] = batch["masked_ids"][rows, columns]
    return labels


def tapered_batch(vocab_size: int, rows: int, length: int) -> dict[str, np.ndarray]:
    """Draws a batch whose first row is full and whose last row is a quarter full, with the published share of masks."""
    lengths = np.linspace(length, length // 4, rows).astype(int)
    return random_batch(lengths, length, vocab_size, max(1, round(_MASKED_FRACTION * length)))
