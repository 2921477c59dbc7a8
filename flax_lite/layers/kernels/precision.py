"""float32 where 16 bits would lose precision: casts, and products with float32 results."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def upcast(array: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """Returns the array in float32, or in float64 if it already is."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def einsum_f32(subscripts: str, left: Float[Array, "..."], right: Float[Array, "..."]) -> Float[Array, "..."]:
    """jnp.einsum in float32 whose gradients are products in the dtype of the factors.

    Gains: in 16 bits the backward products run at full rate and read half the bytes. By JAX's own rule a float32 result
    has a float32 cotangent, so that they would run in float32 (TF32 on a GPU). Here the cotangent is first rounded to
    the dtype of the factors, as fused attention kernels do.

    Factors of 16 bits cannot be differentiated in forward mode. Factors of 32 bits or more have JAX's rule.
    """
    if jnp.finfo(jnp.promote_types(left.dtype, right.dtype)).bits >= 32:
        return jnp.einsum(subscripts, left, right)
    return _narrow_einsum(subscripts, left, right)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _narrow_einsum(subscripts: str, left: Array, right: Array) -> Array:
    return jnp.einsum(subscripts, left, right, preferred_element_type=jnp.float32)


def _forward(subscripts: str, left: Array, right: Array) -> tuple[Array, tuple[Array, Array]]:
    return _narrow_einsum(subscripts, left, right), (left, right)


def _backward(subscripts: str, factors: tuple[Array, Array], cotangent: Array) -> Any:
    _, pullback = jax.vjp(functools.partial(jnp.einsum, subscripts), *factors)
    return pullback(cotangent.astype(factors[0].dtype))


_narrow_einsum.defvjp(_forward, _backward)
