"""Derivatives of the activation functions in 16 bits, against central differences in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.layers.activations import ACTIVATION_FUNCTIONS
from tests.flax_lite import jaxprs
from tests.flax_lite.formulas import GELU


def slope(name, x):
    """The derivative by central differences in float64, exact to 1e-9."""
    step = 1e-5
    return (GELU[name](x + step) - GELU[name](x - step)) / (2 * step)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gelu", "gelu_new"])
def test_slopes_equal_central_differences(name, dtype):
    """In 16 bits slopes are computed in float32 and rounded once: an error of half a step of the dtype. The largest
    slopes are between 1 and 2, where a step is epsilon.
    """
    points = jnp.asarray(np.linspace(-6, 6, 601), dtype)
    found = jax.jit(jax.vmap(jax.grad(ACTIVATION_FUNCTIONS[name])))(points)
    assert found.dtype == dtype
    expected = np.asarray([slope(name, float(point)) for point in points])
    error = np.abs(np.asarray(found, np.float64) - expected)
    assert error.max() <= (5e-6 if dtype == "float32" else 0.51 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("name", ["gelu", "gelu_new"])
def test_slopes_in_forward_mode(name):
    points, tangents = (jnp.asarray(np.linspace(*ends, 9), jnp.bfloat16) for ends in ((-3, 3), (1, 2)))
    function = ACTIVATION_FUNCTIONS[name]
    value, found = jax.jit(lambda *given: jax.jvp(function, given[:1], given[1:]))(points, tangents)
    np.testing.assert_array_equal(value, jax.jit(function)(points))
    wide = [slope(name, float(point)) * float(tangent) for point, tangent in zip(points, tangents, strict=True)]
    np.testing.assert_allclose(np.asarray(found, np.float64), wide, rtol=2.0**-8, atol=1e-6)


@pytest.mark.parametrize(("name", "costly"), [("gelu", "erf"), ("gelu_new", "tanh")])
def test_backward_pass_shares_no_costly_value_with_the_forward_pass(name, costly):
    """XLA would store a value that both passes compute, so no erf or tanh may occur twice with the same argument. The
    argument of erf is the input times a constant, by which it is identified.
    """
    gradient = jax.grad(lambda x: ACTIVATION_FUNCTIONS[name](x).sum())
    program = jaxprs.trace(gradient, jnp.ones(3, jnp.bfloat16))
    made = {variable: equation for equation in jaxprs.equations(program) for variable in equation.outvars}
    arguments = [
        [getattr(factor, "val", None) for factor in made[equation.invars[0]].invars]
        for equation in made.values()
        if equation.primitive.name == costly
    ]
    constants = [float(value) for factors in arguments for value in factors if value is not None]
    if costly == "tanh":
        assert len(arguments) == 1
    else:
        assert constants == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])
