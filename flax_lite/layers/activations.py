"""The activation functions of the feed-forward block."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Function = Callable[[Array], Array]

# Of the tanh approximation (Hendrycks and Gimpel, 2016): u = sqrt(2 / pi) (x + 0.044715 x^3).
_CUBIC = 0.044715
_TANH_SCALE = math.sqrt(2 / math.pi)


def _wide(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """X Phi(x) = x / 2 (1 + erf(x / sqrt(2))), Phi the standard normal distribution function, in float32 at least.

    jax.nn.gelu takes 1 - erf as erfc, right to the last digits where it is all but 0, for 2.6 times the time (CPU);
    on a GPU the function is then bound by its arithmetic, not by memory. Here the error is below 2e-6 absolute, as in
    PyTorch, which writes it so too.
    """
    wide = _wide(x)
    return (0.5 * wide * (1.0 + jax.lax.erf(wide * math.sqrt(0.5)))).astype(x.dtype)


def _gelu_slope(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Phi(x) + x phi(x), Phi by the erf of -x."""
    density = jnp.exp(-0.5 * jnp.square(x)) / math.sqrt(2 * math.pi)
    return 0.5 * (1.0 - jax.lax.erf(x * -math.sqrt(0.5))) + x * density


def _gelu_new_slope(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """S + x S (1 - S) 2 u', S = sigmoid(2 u) = (1 + tanh u) / 2."""
    sigmoid = jax.nn.sigmoid(2 * _TANH_SCALE * (x + _CUBIC * x**3))
    return sigmoid * (1 + x * (1 - sigmoid) * 2 * _TANH_SCALE * (1 + 3 * _CUBIC * jnp.square(x)))


def _with_slope(function: Function, slope: Function) -> Function:
    """The same function; in 16 bits its derivative is `slope`, computed in float32 from the argument.

    What erf and tanh give forwards is what JAX's own derivative multiplies by, so that XLA stores it for the backward
    pass: a second array of the feed-forward width in each layer. A slope written otherwise than the function is
    computed where it is multiplied. On a GPU XLA then leaves the tanh form to the epilogue of the product before it too
    (ALBERT-base, 65,536 tokens, H200's compiler: 18 of the 90 GiB that a step moves outside of products, and 4.5 of
    24.5 GiB of temporaries). In float32 on CPU it is slower by 3% of BERT-base's step for erf, and no faster for tanh.
    """

    @jax.custom_jvp
    def narrow(x: Array) -> Array:
        return function(x)

    @narrow.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        (x,), (tangent,) = primals, tangents
        return narrow(x), (_wide(tangent) * slope(_wide(x))).astype(x.dtype)

    @functools.wraps(function)
    def either(x: Array) -> Array:
        return narrow(x) if jnp.finfo(x.dtype).bits < 32 else function(x)

    return either


# "gelu" is the exact (erf) form and "gelu_new" the tanh approximation, as Hugging Face's config.json means them. They
# differ by up to 4.7e-4, so the form is always passed.
ACTIVATION_FUNCTIONS: dict[str, Function] = {
    "gelu": _with_slope(_gelu, _gelu_slope),
    "gelu_new": _with_slope(functools.partial(jax.nn.gelu, approximate=True), _gelu_new_slope),
    "relu": jax.nn.relu,
}
