"""Dropout with an explicit key."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from flax_lite.layers.bernoulli import bernoulli


def dropout(x: Float[Array, "*shape"], rate: float, key: jax.Array | None) -> Float[Array, "*shape"]:
    """Zeroes each element independently with probability `rate` and scales the others by 1 / (1 - rate).

    One draw per element, never shared over batch or heads, as in Google's code (Hugging Face Flax shares one attention
    mask over both).

    Args:
        x: any array.
        rate: probability of a zero, in [0, 1).
        key: PRNG key; None is deterministic and returns x.

    Returns:
        An array of x's shape and dtype.
    """
    return drop(x, rate, keep_mask(x.shape, rate, key))


def keep_mask(shape: tuple[Any, ...], rate: float, key: jax.Array | None) -> Bool[Array, "*shape"] | None:
    """Which elements `dropout` keeps, for where the draw and its use lie apart; None where all are kept.

    The shape may hold jax.export's symbolic dimensions.
    """
    return None if key is None or rate == 0.0 else bernoulli(key, 1.0 - rate, shape)


def drop(x: Float[Array, "*shape"], rate: float, keep: Bool[Array, "*shape"] | None) -> Float[Array, "*shape"]:
    """Gives x / (1 - rate) where `keep`, elsewhere 0; x where there is no mask."""
    if keep is None:
        return x
    return jax.lax.select(keep, x / jnp.asarray(1.0 - rate, x.dtype), jnp.zeros_like(x))


def split_key(key: jax.Array | None, num: int) -> tuple[jax.Array | None, ...]:
    """`num` independent keys, or as many Nones."""
    return (None,) * num if key is None else tuple(jax.random.split(key, num))
