"""One vector for each text of a row: the mean of its tokens' hidden states."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flax_lite.layers.dense import wide


def sentence_vectors(
    hidden: Float[Array, "B T D"], segment_ids: Int[Array, "B T"], num_segments: int
) -> Float[Array, "B texts D"]:
    """sum_t h_t / count over the tokens of each text, in float32 or wider.

    Args:
        hidden: h, as a layer or an encoder gives it. The caller stops the gradient where this is the teacher's.
        segment_ids: number of the text each token belongs to, from 1; 0 is padding. A row that is one text has its
            attention mask here.
        num_segments: texts in the result: 1 to `num_segments`. Tokens of any other number are left out, whatever they
            hold.

    Returns:
        The vector of text i at [:, i - 1]; zeros for a text without tokens, which `sentence_counts` tells apart.

    Raises:
        ValueError: if `num_segments` is below 1.

    Source: Reimers and Gurevych 2019 (arXiv:1908.10084), MEAN pooling.
    """
    belongs = _membership(segment_ids, num_segments)
    # 0 * NaN is NaN, so tokens of no text are zeros before the product.
    states = jnp.where(jnp.any(belongs, axis=1)[:, :, None], wide(hidden), 0.0)
    # At their default precision, accelerators would round states to bfloat16 or TF32 here, where nothing else is lost.
    totals = jnp.matmul(belongs.astype(states.dtype), states, precision=jax.lax.Precision.HIGHEST)
    return totals / jnp.maximum(jnp.sum(belongs, axis=2), 1)[:, :, None]


def sentence_counts(segment_ids: Int[Array, "B T"], num_segments: int) -> Int[Array, "B texts"]:
    """Number of tokens of each text: a loss over texts weighs those with 0 of them by 0.

    Args:
        segment_ids: as in `sentence_vectors`.
        num_segments: as there.

    Raises:
        ValueError: if `num_segments` is below 1.
    """
    return jnp.sum(_membership(segment_ids, num_segments), axis=2)


def _membership(segment_ids: Int[Array, "B T"], num_segments: int) -> Bool[Array, "B texts T"]:
    """Whether a token belongs to a text."""
    if num_segments < 1:
        raise ValueError(f"sentence vectors need num_segments of at least 1, got {num_segments}")
    return segment_ids[:, None, :] == jnp.arange(1, num_segments + 1)[:, None]
