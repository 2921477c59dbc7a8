"""Dense layers as BERT initializes them, and products whose results stay in float32, in both directions."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.execution import Execution


def einsum_f32(subscripts: str, left: Float[Array, "..."], right: Float[Array, "..."]) -> Float[Array, "..."]:
    """jnp.einsum(subscripts, left, right) in float32; its gradients are products of factors in the factors' dtype.

    By JAX's own rule a float32 result has a float32 cotangent, with which the other factor is multiplied in float32
    too: on a GPU in TF32, at half the rate and from arrays of twice the size. Here the cotangent is rounded to the
    factors' dtype first, as in every fused attention.

    Factors that are float32 together have JAX's rule. Others cannot be differentiated in forward mode.
    """
    if jnp.finfo(jnp.promote_types(left.dtype, right.dtype)).bits >= 32:
        return jnp.einsum(subscripts, left, right)
    return _product(subscripts, left, right)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(subscripts: str, left: Array, right: Array) -> Array:
    return jnp.einsum(subscripts, left, right, preferred_element_type=jnp.float32)


def _forward(subscripts: str, left: Array, right: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(subscripts, left, right), (left, right)


def _backward(subscripts: str, factors: tuple[Array, Array], cotangent: Array) -> Any:
    _, pullback = jax.vjp(functools.partial(jnp.einsum, subscripts), *factors)
    return pullback(cotangent.astype(factors[0].dtype))


_product.defvjp(_forward, _backward)


def linear(
    in_features: int, out_features: int, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs
) -> nnx.Linear:
    """A Dense layer initialized as BERT's: truncated normal kernel, zero bias.

    The normal is cut at two sigma and its standard deviation is that of the uncut one, as
    tf.truncated_normal_initializer has it.
    """
    kernel_init = jax.nn.initializers.truncated_normal(stddev=config.initializer_range)
    return nnx.Linear(in_features, out_features, kernel_init=kernel_init, dtype=execution.compute_dtype, rngs=rngs)


def wide(array: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """float32, or float64 where it is that already."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
