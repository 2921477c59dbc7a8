"""A function's result in float64 and in float32, from the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np


def double(function, *arrays):
    """Computes in float64, on this machine's CPU."""
    with jax.enable_x64(True):
        return np.asarray(function(*(jnp.asarray(array, jnp.float64) for array in arrays)))


def single(function, *arrays):
    """Computes in float32."""
    return np.asarray(function(*(jnp.asarray(array, jnp.float32) for array in arrays)))
