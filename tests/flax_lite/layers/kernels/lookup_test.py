"""Lookup by selection against the gather, in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.layers.embeddings import embedding_lookup
from flax_lite.layers.kernels import select_lookup


def make_table(rows, dtype):
    return jnp.asarray(np.random.default_rng(0).normal(size=(rows, 5)), dtype)


def test_select_lookup_equals_the_gather_and_so_does_its_gradient():
    table, ids = make_table(3, jnp.float32), jnp.asarray([[0, 2, 2, 1], [2, 0, 0, 2]])
    weights = np.random.default_rng(1).normal(size=(2, 4, 5)).astype(np.float32)

    def gradient(lookup):
        return jax.jit(jax.grad(lambda t: (jnp.sum(lookup(t, ids) * weights), lookup(t, ids)), has_aux=True))(table)

    (found, selected), (expected, gathered) = gradient(select_lookup), gradient(embedding_lookup)
    np.testing.assert_array_equal(selected, gathered)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lookup", [embedding_lookup, select_lookup])
def test_missing_row_is_nan(lookup):
    found = jax.jit(lookup)(make_table(3, jnp.float32), jnp.asarray([[1, 3]]))
    assert np.isfinite(found[0, 0]).all()
    assert np.isnan(found[0, 1]).all()


@pytest.mark.parametrize("lookup", [embedding_lookup, select_lookup])
def test_gradients_of_many_equal_tokens_add_up(lookup):
    """In bfloat16 a sum of ones stops at 256, where the next number is 258."""
    table, ids = make_table(2, jnp.bfloat16), jnp.ones((4, 1000), jnp.int32)
    total = lambda table: jnp.sum(lookup(table, ids).astype(jnp.bfloat16).astype(jnp.float32))  # noqa: E731
    gradient = jax.jit(jax.grad(total))(table)
    np.testing.assert_array_equal(gradient, np.asarray([[0.0] * 5, [4000.0] * 5]))
