"""LayerNorm with a derivative that moves less memory in 16 bits."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

_Residuals = tuple[Array, Array, Array, Array]


def normalize(norm: nnx.LayerNorm, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """Applies a LayerNorm: norm(x), in 16 bits with a handwritten derivative.

    With n = (x - mean) / deviation, a = dy scale, and means over D:

        dx = (a - mean(a) - n mean(a n)) / deviation,  dscale = sum of dy n,  dbias = sum of dy

    all in float32.

    Gains: 15% of the GPU memory traffic outside of matrix products. XLA would store an intermediate of JAX's derivative
    in float32 and sum dscale and dbias in two passes.

    In 16 bits it cannot be differentiated in forward mode.
    """
    if jnp.finfo(x.dtype).bits >= 32:
        return norm(x)
    # Under shard_map each device holds a partial gradient of scale and bias. JAX sums partial gradients only of values
    # that vary over the same mesh axes as x. The addition also casts parameters of 16 bits to float32.
    zeros = jnp.zeros_like(x, shape=x.shape[-1:], dtype=jnp.float32)
    scale, bias = (zeros + param[...] for param in (norm.scale, norm.bias))  # type: ignore[index]
    return _normalize(x, scale, bias, norm.epsilon)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalize(x: Array, scale: Array, bias: Array, epsilon: float) -> Array:
    return _forward(x, scale, bias, epsilon)[0]


def _forward(x: Array, scale: Array, bias: Array, epsilon: float) -> tuple[Array, _Residuals]:
    x_f32 = x.astype(jnp.float32)
    # Both statistics in one pass over x. The error of E[x^2] - mean^2, about 2^-22 mean^2, is smaller than that of
    # rounding x to 16 bits.
    mean, mean_square = x_f32.mean(-1, keepdims=True), jnp.square(x_f32).mean(-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.maximum(mean_square - jnp.square(mean), 0.0) + epsilon)
    return ((x_f32 - mean) * (inverse * scale) + bias).astype(x.dtype), (x, mean, inverse, scale)


def _backward(epsilon: float, residuals: _Residuals, cotangent: Array) -> tuple[Array, Array, Array]:
    del epsilon
    x, mean, inverse, scale = residuals
    x_f32, dy = x.astype(jnp.float32), cotangent.astype(jnp.float32)
    normalized, a = (x_f32 - mean) * inverse, dy * scale
    dx = inverse * (a - a.mean(-1, keepdims=True) - normalized * (a * normalized).mean(-1, keepdims=True))
    # Not dy * normalized: XLA would share that array, in memory, between the kernel that sums over D (dx) and the one
    # that sums over tokens (dscale).
    dscale = dy * (x_f32 * inverse - mean * inverse)
    token_axes = tuple(range(x.ndim - 1))
    return dx.astype(x.dtype), dscale.sum(token_axes), dy.sum(token_axes)


_normalize.defvjp(_forward, _backward)
