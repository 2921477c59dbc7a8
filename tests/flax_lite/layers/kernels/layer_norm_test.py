"""LayerNorm in 16 bits: its value and its derivative, against the formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from flax_lite.layers.execution import Execution
from flax_lite.layers.kernels import normalize
from flax_lite.layers.normalization import layer_norm
from tests.flax_lite import tiny
from tests.flax_lite.formulas import norm


def norm_of(width, dtype, epsilon=1e-12, param_dtype="float32"):
    """A LayerNorm whose scale and bias differ from 1 and 0 and between elements."""
    config, execution = tiny.bert(layer_norm_eps=epsilon), Execution(dtype=dtype)
    module = layer_norm(width, config, execution, rngs=nnx.Rngs(0))
    random = np.random.default_rng(1)
    module.scale[...] = jnp.asarray(1.0 + 0.3 * random.normal(size=width), jnp.float32)
    module.bias[...] = jnp.asarray(random.normal(size=width), jnp.float32)
    return jax.tree.map(lambda leaf: leaf.astype(param_dtype), module)


def rows(dtype, mean=0.7, shape=(8, 5, 48)):
    return jnp.asarray(mean + 1.7 * np.random.default_rng(2).normal(size=shape), dtype)


def weighted(x):
    """A sum with a different weight for every element, so that its derivative is not constant."""
    return jnp.sum(x.astype(jnp.float32) * np.sin(np.arange(x.size, dtype=np.float32)).reshape(x.shape))


value = jax.jit(normalize)
gradient = jax.jit(jax.grad(lambda module, x: weighted(normalize(module, x)), argnums=(0, 1)))


def gradients(module, x):
    found = gradient(module, x)
    return {"scale": found[0].scale[...], "bias": found[0].bias[...], "x": found[1]}


def expected_gradients(module, x):
    """The gradients by JAX in float64."""
    with jax.enable_x64():
        parts = [jnp.asarray(np.asarray(part, np.float64)) for part in (module.scale[...], module.bias[...], x)]

        def formula(scale, bias, x):
            centered = x - x.mean(-1, keepdims=True)
            normalized = centered / jnp.sqrt(jnp.square(centered).mean(-1, keepdims=True) + module.epsilon)
            return jnp.sum((scale * normalized + bias) * np.sin(np.arange(x.size)).reshape(x.shape))

        found = jax.jit(jax.grad(formula, argnums=(0, 1, 2)))(*parts)
        return dict(zip(("scale", "bias", "x"), map(np.asarray, found), strict=True))


@pytest.mark.parametrize("epsilon", [1e-12, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_derivatives_equal_the_formula(dtype, epsilon):
    """In 16 bits the cotangent of the output and the gradient of x are rounded to the dtype, by half of its epsilon;
    everything between is float32. Sums of 40 such terms of order 1 are within 10 roundings of one.
    """
    module, x = norm_of(48, dtype, epsilon), rows(dtype)
    found, expected = gradients(module, x), expected_gradients(module, x)
    step = 2e-6 if dtype == "float32" else float(jnp.finfo(dtype).eps) / 2
    assert (found["x"].dtype, found["scale"].dtype) == (dtype, "float32")
    for name, expected_leaf in expected.items():
        limit = (2 if name == "x" else 10) * step * max(1.0, np.abs(expected_leaf).max())
        np.testing.assert_allclose(np.asarray(found[name], np.float64), expected_leaf, atol=limit, rtol=0, err_msg=name)


@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
def test_value_in_16_bits_is_rounded_once(param_dtype):
    """Within half a step of bfloat16, at most 2^-8 relative; scale and bias are not rounded first."""
    module, x = norm_of(48, "bfloat16", param_dtype=param_dtype), rows("bfloat16")
    assert gradients(module, x)["scale"].dtype == param_dtype
    params = {"scale": np.asarray(module.scale[...], np.float64), "bias": np.asarray(module.bias[...], np.float64)}
    expected = norm(params, np.asarray(x, np.float64))
    np.testing.assert_allclose(np.asarray(value(module, x), np.float64), expected, rtol=1.01 * 2.0**-8, atol=1e-5)


def test_constant_rows_are_finite():
    """The variance of 50 equal numbers by E[x^2] - E[x]^2 may be below 0, because their mean is rounded.

    The gradient of x, about 1 / sqrt(epsilon), is outside float16's range.
    """
    module = norm_of(50, "float16")
    x = jnp.broadcast_to(jnp.arange(200.0)[:, None] / 1.7, (1, 200, 50)).astype(jnp.float16)
    wide = x.astype(jnp.float32)
    assert (jnp.square(wide).mean(-1) - jnp.square(wide.mean(-1))).min() < -1e-5
    slopes = gradients(module, x)
    for found in (value(module, x), slopes["scale"], slopes["bias"]):
        assert np.isfinite(np.asarray(found, np.float32)).all()


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_gradients_of_parameters_are_summed_under_shard_map():
    """Each device has one row; the gradient of the parameters is the sum over all devices."""
    module, x = norm_of(48, "bfloat16"), rows("bfloat16")
    weights = jnp.asarray(np.sin(np.arange(x.size, dtype=np.float32)).reshape(x.shape))

    def gradient(module, x, weights):
        def loss(module):
            return jax.lax.psum(jnp.sum(normalize(module, x).astype(jnp.float32) * weights), "data")

        return jax.grad(loss)(module)

    split = P("data")
    spread = jax.shard_map(gradient, mesh=tiny.mesh(8), in_specs=(P(), split, split), out_specs=P())
    found, expected = jax.jit(spread)(module, x, weights), gradients(module, x)
    for name, part in (("scale", found.scale), ("bias", found.bias)):
        np.testing.assert_allclose(part[...], expected[name], rtol=1e-5, atol=1e-5)
