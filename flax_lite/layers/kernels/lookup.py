"""Embedding lookup in a table of few rows, without a scatter in the gradient."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from flax_lite.layers.kernels.precision import upcast


def select_lookup(table: Float[Array, "rows E"], ids: Int[Array, "B T"]) -> Float[Array, "B T E"]:
    """Looks up the rows of a small table by selecting each of them where its id occurs; in float32.

    Gains: nearly half of BERT's training step on a GPU, where the scatter-add in the gradient of a lookup serializes
    on two rows. The program grows with the number of rows.

    Returns NaN for an id outside the table, negative ids included.
    """
    values = upcast(table)
    rows = jnp.full((*ids.shape, values.shape[1]), jnp.nan, values.dtype)
    for number, row in enumerate(values):
        rows = jnp.where((ids == number)[:, :, None], row, rows)
    return rows
