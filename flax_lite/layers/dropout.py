"""Dropout with explicit keys, and the dropout masks of a layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.kernels import bernoulli


def dropout(x: Float[Array, "*shape"], rate: float, key: jax.Array | None) -> Float[Array, "*shape"]:
    """Zeroes each element independently with probability `rate` and scales the others by 1 / (1 - rate).

    Every element has its own draw, never shared over batch or heads, as in Google's code (Hugging Face Flax shares one
    attention mask over both).

    Args:
        x: any array.
        rate: probability of a zero, in [0, 1).
        key: PRNG key; None is deterministic and returns x.

    Returns:
        An array of x's shape and dtype.
    """
    return drop(x, rate, keep_mask(x.shape, rate, key))


def keep_mask(shape: tuple[Any, ...], rate: float, key: jax.Array | None) -> Bool[Array, "*shape"] | None:
    """Draws the mask of `dropout`: True for kept elements; None if all are kept.

    The shape may hold jax.export's symbolic dimensions.
    """
    return None if key is None or rate == 0.0 else bernoulli(key, 1.0 - rate, shape)


def drop(x: Float[Array, "*shape"], rate: float, keep: Bool[Array, "*shape"] | None) -> Float[Array, "*shape"]:
    """Applies a dropout mask: x / (1 - rate) where `keep` is True, 0 elsewhere; x if there is no mask."""
    if keep is None:
        return x
    return jax.lax.select(keep, x / jnp.asarray(1.0 - rate, x.dtype), jnp.zeros_like(x))


def split_key(key: jax.Array | None, num: int) -> tuple[jax.Array | None, ...]:
    """Splits a key into `num` independent keys; None into as many Nones."""
    return (None,) * num if key is None else tuple(jax.random.split(key, num))


class LayerMasks(NamedTuple):
    """The dropout masks of one layer: True for kept elements, None if all are kept.

    Attributes:
        probabilities: mask of the attention probabilities.
        attention_output: mask of the output of the Dense after attention.
        feed_forward: mask of the output of the feed-forward block's second Dense.
    """

    probabilities: Bool[Array, "B N T T"] | None
    attention_output: Bool[Array, "B T D"] | None
    feed_forward: Bool[Array, "B T D"] | None


def draw_layer_masks(config: EncoderConfig, batch: int, length: int, key: jax.Array) -> LayerMasks:
    """Draws the dropout masks of one layer, each with its own key.

    Args:
        config: the architecture, with its dropout rates.
        batch: B.
        length: T.
        key: PRNG key of the layer.
    """
    attention_key, feed_forward_key = split_key(key, 2)
    probabilities_key, output_key = split_key(attention_key, 2)
    square, hidden = (batch, config.num_attention_heads, length, length), (batch, length, config.hidden_size)
    return LayerMasks(
        probabilities=keep_mask(square, config.attention_probs_dropout_prob, probabilities_key),
        attention_output=keep_mask(hidden, config.attention_output_dropout_prob, output_key),
        feed_forward=keep_mask(hidden, config.hidden_dropout_prob, feed_forward_key),
    )
