"""Activation functions against the formulas in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.layers.activations import ACTIVATION_FUNCTIONS
from tests.flax_lite.formulas import GELU


@pytest.mark.parametrize("name", GELU)
def test_activation_is_the_form_of_its_name(name):
    """The exact and the tanh GELU differ by up to 4.7e-4, so a swapped form fails at 1e-6."""
    points = np.linspace(-4, 4, 41)
    expected = [GELU[name](point) for point in points]
    np.testing.assert_allclose(
        jax.jit(ACTIVATION_FUNCTIONS[name])(jnp.asarray(points, jnp.float32)), expected, atol=1e-6
    )


def test_gelu_of_bfloat16_is_rounded_once():
    """Computed in float32 and rounded at the end: within half a step of bfloat16, 2^-8 relative, of the exact value."""
    points = jnp.asarray(np.linspace(-4, 4, 401), jnp.bfloat16)
    found = np.asarray(jax.jit(ACTIVATION_FUNCTIONS["gelu"])(points), np.float64)
    expected = np.asarray([GELU["gelu"](float(point)) for point in points])
    np.testing.assert_allclose(found, expected, rtol=1.01 * 2.0**-8, atol=1e-6)
