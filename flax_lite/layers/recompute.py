"""What is cheaper to compute twice than to keep."""

from collections.abc import Callable

import jax
from jaxtyping import Array

from flax_lite.layers.execution import Execution


def recomputed(function: Callable[..., Array], execution: Execution) -> Callable[..., Array]:
    """The same function, of which the backward pass keeps the inputs and computes again what is between.

    Where `execution.remat` has the whole layer computed again it is the function itself: it would be computed a third
    time.
    """
    # Without barriers: in the body of a loop, where forward and backward pass are programs of their own, XLA cannot
    # merge the two computations.
    return jax.checkpoint(function, prevent_cse=False) if execution.remat == "none" else function
