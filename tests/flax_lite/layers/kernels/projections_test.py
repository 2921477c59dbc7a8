"""The fused product of several Dense layers against the layers one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flax_lite.layers.kernels import project_fused
from tests.flax_lite import jaxprs


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_project_fused_equals_the_layers(dtype):
    """Each column of the concatenated kernel is the same sum of 12 products, at most in another order."""
    layers = [nnx.Linear(12, 12, dtype=dtype, rngs=nnx.Rngs(seed)) for seed in range(3)]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 12)), dtype)
    for layer, found in zip(layers, jax.jit(project_fused)(layers, x), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found.astype(jnp.float32), layer(x).astype(jnp.float32), rtol=2e-2, atol=1e-5)


def test_project_fused_is_one_product():
    layers = [nnx.Linear(12, 12, rngs=nnx.Rngs(seed)) for seed in range(3)]
    assert jaxprs.primitives(jaxprs.trace(project_fused, layers, jnp.ones((2, 5, 12))))["dot_general"] == 1
