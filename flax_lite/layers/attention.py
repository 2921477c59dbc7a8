"""Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1), bidirectional, and its mask."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from flax_lite.layers.dropout import drop
from flax_lite.layers.kernels import einsum_f32, heads_first, heads_last


def attention_visibility(
    mask: Shaped[Array, "B S"] | None, segment_ids: Int[Array, "B S"] | None
) -> Bool[Array, "B 1 #T S"] | None:
    """Returns which keys each query may attend to.

    Args:
        mask: non-zero for real tokens; padding keys are hidden from every query.
        segment_ids: number of the text that each token of a packed row belongs to; a token attends to its own text only
            (block-diagonal attention).

    Returns:
        True where attention is allowed, with a head axis of size 1; None if everything is visible.
    """
    allowed = None if mask is None else (mask != 0)[:, None, None, :]
    if segment_ids is None:
        return allowed
    same_text = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
    return same_text if allowed is None else same_text & allowed


def attention_scores(queries: Float[Array, "B T N H"], keys: Float[Array, "B S N H"]) -> Float[Array, "B N T S"]:
    """Q K^T / sqrt(H), without a mask, in float32."""
    queries = queries / math.sqrt(queries.shape[-1])
    return einsum_f32("BNTH,BNSH->BNTS", heads_first(queries), heads_first(keys))


def attention_probabilities(
    scores: Float[Array, "B N T S"], mask: Bool[Array, "B 1 #T S"] | None
) -> Float[Array, "B N T S"]:
    """softmax(scores) over the visible keys, in float32.

    A query without visible keys gets the uniform average, as in Hugging Face Flax: it is finite, and no loss reads it.
    """
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jax.nn.softmax(scores, axis=-1)


def attend(
    scores: Float[Array, "B N T S"],
    values: Float[Array, "B S N H"],
    mask: Bool[Array, "B 1 #T S"] | None,
    rate: float,
    keep: Bool[Array, "B N T S"] | None,
) -> Float[Array, "B T N H"]:
    """dropout(softmax(scores)) V, in the dtype of the values.

    Args:
        scores: unmasked, as `attention_scores` returns them.
        values: V.
        mask: visible keys; None for all.
        rate: dropout rate of the probabilities.
        keep: dropout mask, True for kept probabilities; None is deterministic.
    """
    probabilities_BNTS = drop(attention_probabilities(scores, mask).astype(values.dtype), rate, keep)
    return heads_last(jnp.einsum("BNTS,BNSH->BNTH", probabilities_BNTS, heads_first(values)))
