"""Axis orders and memory layouts that save the compiler's transposes."""

import jax
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float


def heads_first(x_BTNH: Float[Array, "B T N H"]) -> Float[Array, "B N T H"]:
    """Moves the head axis before the token axis.

    Gains: 5% of a forward pass on CPU. An einsum of [B, T, N, H] leaves the transposes to XLA and its gradients.
    """
    return x_BTNH.swapaxes(1, 2)


def heads_last(x_BNTH: Float[Array, "B N T H"]) -> Float[Array, "B T N H"]:
    """The inverse of `heads_first`."""
    return x_BNTH.swapaxes(1, 2)


def row_major(x: Float[Array, "B T E"]) -> Float[Array, "B T E"]:
    """Fixes the row-major memory layout of an array and of its gradient; the values stay the same.

    Gains: on a GPU, no transposes around the LayerNorms of unrolled layers. The gradient of the position embeddings is
    a sum over B; XLA would choose a layout with B innermost for it and propagate that along the residual path.

    On several devices it does nothing, because the constraint would gather the array.
    """
    if jax.device_count() > 1:
        return x
    return with_layout_constraint(x, Layout(major_to_minor=(0, 1, 2)))
