"""Several Dense layers with the same input, as one matrix product."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def project_fused(layers: Sequence[nnx.Linear], x: Float[Array, "B T D"]) -> list[Float[Array, "B T D"]]:
    """Applies Dense layers of equal width to x by one product with their concatenated kernels.

    Gains: 6% of a training step on CPU, because the gradient of x is one product instead of a sum of three. It loses
    where no gradient is taken (the kernels are copied at each call) and for cuDNN's attention, which reads and returns
    three arrays.
    """
    kernel = jnp.concatenate([layer.kernel[...] for layer in layers], axis=-1).astype(x.dtype)
    products = jnp.split(jnp.dot(x, kernel), len(layers), axis=-1)
    biases = (layer.bias[...].astype(x.dtype) for layer in layers)  # type: ignore[index]
    return [product + bias for product, bias in zip(products, biases, strict=True)]
