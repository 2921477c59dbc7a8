"""Products of low-precision factors whose results stay in float32, in both directions."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def float32_product(subscripts: str, left: Float[Array, "..."], right: Float[Array, "..."]) -> Float[Array, "..."]:
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
