"""Mean pooling: one vector for each text of a row."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flax_lite.layers.kernels import upcast


def sentence_vectors(
    hidden: Float[Array, "B T D"], segment_ids: Int[Array, "B T"], num_segments: int
) -> Float[Array, "B texts D"]:
    """sum_t h_t / count over the tokens of each text, in float32 or wider.

    Args:
        hidden: h, hidden states of a layer or of an encoder. For a teacher's, the caller stops the gradient.
        segment_ids: number of the text that each token belongs to, from 1; 0 is padding. For rows of one text each,
            pass the attention mask.
        num_segments: number of texts in the result: 1 to `num_segments`. Tokens of any other number are ignored,
            whatever their values.

    Returns:
        The vector of text i at [:, i - 1]; zeros for a text without tokens (see `sentence_counts`).

    Raises:
        ValueError: if `num_segments` is below 1.

    Source: Reimers and Gurevych 2019 (arXiv:1908.10084), MEAN pooling.
    """
    belongs = _membership(segment_ids, num_segments)
    # 0 * NaN is NaN, so tokens of no text are zeroed before the product.
    states = jnp.where(jnp.any(belongs, axis=1)[:, :, None], upcast(hidden), 0.0)
    # At default precision accelerators would round the states to bfloat16 or TF32.
    totals = jnp.matmul(belongs.astype(states.dtype), states, precision=jax.lax.Precision.HIGHEST)
    return totals / jnp.maximum(jnp.sum(belongs, axis=2), 1)[:, :, None]


def sentence_counts(segment_ids: Int[Array, "B T"], num_segments: int) -> Int[Array, "B texts"]:
    """Returns the number of tokens of each text; losses over texts give weight 0 to those without tokens.

    Args:
        segment_ids: as in `sentence_vectors`.
        num_segments: as in `sentence_vectors`.

    Raises:
        ValueError: if `num_segments` is below 1.
    """
    return jnp.sum(_membership(segment_ids, num_segments), axis=2)


def _membership(segment_ids: Int[Array, "B T"], num_segments: int) -> Bool[Array, "B texts T"]:
    """Whether each token belongs to each text."""
    if num_segments < 1:
        raise ValueError(f"sentence vectors need num_segments of at least 1, got {num_segments}")
    return segment_ids[:, None, :] == jnp.arange(1, num_segments + 1)[:, None]
