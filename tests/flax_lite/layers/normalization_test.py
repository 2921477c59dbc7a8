"""LayerNorm's statistics against the formula in float64."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from flax_lite.layers.execution import Execution
from flax_lite.layers.normalization import layer_norm
from tests.flax_lite import tiny
from tests.flax_lite.formulas import norm


def test_layer_norm_survives_a_large_mean():
    """On rows of mean 8 and standard deviation 0.5 the one-pass variance E[x^2] - E[x]^2 is off by 1.5e-4; with two
    passes only rounding remains.
    """
    x = 8 + 0.5 * np.random.default_rng(0).normal(size=(4, 64))
    module = layer_norm(64, tiny.bert(), Execution(), rngs=nnx.Rngs(0))
    rounded = x.astype(np.float32)
    expected = norm({"scale": 1.0, "bias": 0.0}, rounded.astype(np.float64))
    np.testing.assert_allclose(module(jnp.asarray(rounded)), expected, atol=1e-5, rtol=0)


def test_layer_norm_takes_epsilon_from_the_config():
    """On a row whose variance is 1, epsilon 3 halves the output."""
    x = jnp.asarray([[-1.0, 1.0, -1.0, 1.0]])
    module = layer_norm(4, tiny.bert(layer_norm_eps=3.0), Execution(), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(module(x), x / 2, rtol=1e-6)


def test_layer_norm_of_bfloat16_has_float32_statistics():
    """The mean of 256 values near 100 in bfloat16 steps of 0.5 would be off by whole steps; only the rounding of input
    and output to 8 bits remains (2^-8 of an output of up to 4).
    """
    x = jnp.asarray(100 + np.random.default_rng(0).normal(size=(4, 256)), jnp.bfloat16)
    module = layer_norm(256, tiny.bert(), Execution(dtype="bfloat16"), rngs=nnx.Rngs(0))
    found = module(x)
    assert found.dtype == jnp.bfloat16
    expected = norm({"scale": 1.0, "bias": 0.0}, np.asarray(x, np.float64))
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, atol=4 * 2**-8)
