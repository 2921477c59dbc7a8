"""Activation functions and their slopes against the formulas in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.layers.activations import ACTIVATION_FUNCTIONS
from tests.flax_lite import jaxprs
from tests.flax_lite.formulas import GELU


@pytest.mark.parametrize("name", GELU)
def test_activation_is_the_form_its_name_means(name):
    """The exact and the tanh GELU differ by up to 4.7e-4, so a swap cannot hide in 1e-6."""
    points = np.linspace(-4, 4, 41)
    expected = [GELU[name](point) for point in points]
    np.testing.assert_allclose(
        jax.jit(ACTIVATION_FUNCTIONS[name])(jnp.asarray(points, jnp.float32)), expected, atol=1e-6
    )


def test_gelu_of_bfloat16_is_rounded_once():
    """Everything inside is float32: the result is within half a step of bfloat16, 2^-8 of it, of the exact one."""
    points = jnp.asarray(np.linspace(-4, 4, 401), jnp.bfloat16)
    found = np.asarray(jax.jit(ACTIVATION_FUNCTIONS["gelu"])(points), np.float64)
    expected = np.asarray([GELU["gelu"](float(point)) for point in points])
    np.testing.assert_allclose(found, expected, rtol=1.01 * 2.0**-8, atol=1e-6)


def slope(name, x):
    """By central differences in float64, right to 1e-9."""
    step = 1e-5
    return (GELU[name](x + step) - GELU[name](x - step)) / (2 * step)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gelu", "gelu_new"])
def test_slopes_are_the_functions_own(name, dtype):
    """In 16 bits they are written by hand, computed in float32 and rounded once: half a step of the dtype, whose step
    is epsilon at most between 1 and 2, where the largest slopes are.
    """
    points = jnp.asarray(np.linspace(-6, 6, 601), dtype)
    found = jax.jit(jax.vmap(jax.grad(ACTIVATION_FUNCTIONS[name])))(points)
    assert found.dtype == dtype
    expected = np.asarray([slope(name, float(point)) for point in points])
    error = np.abs(np.asarray(found, np.float64) - expected)
    assert error.max() <= (5e-6 if dtype == "float32" else 0.51 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("name", ["gelu", "gelu_new"])
def test_forward_mode_in_16_bits(name):
    points, tangents = (jnp.asarray(np.linspace(*ends, 9), jnp.bfloat16) for ends in ((-3, 3), (1, 2)))
    function = ACTIVATION_FUNCTIONS[name]
    value, found = jax.jit(lambda *given: jax.jvp(function, given[:1], given[1:]))(points, tangents)
    np.testing.assert_array_equal(value, jax.jit(function)(points))
    wide = [slope(name, float(point)) * float(tangent) for point, tangent in zip(points, tangents, strict=True)]
    np.testing.assert_allclose(np.asarray(found, np.float64), wide, rtol=2.0**-8, atol=1e-6)


@pytest.mark.parametrize(("name", "costly"), [("gelu", "erf"), ("gelu_new", "tanh")])
def test_the_backward_pass_in_16_bits_shares_nothing_costly_with_the_forward_pass(name, costly):
    """What both computed, XLA would store: no erf or tanh occurs twice with the same argument. The argument is the
    input times a constant, so that it is known by that constant.
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
