"""Axis orders and memory layouts leave the values alone."""

import jax
import jax.numpy as jnp
import numpy as np

from flax_lite.layers.kernels import heads_first, heads_last, row_major
from tests.flax_lite import jaxprs

X = jnp.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5)


def test_heads_first_swaps_tokens_and_heads_and_heads_last_is_its_inverse():
    np.testing.assert_array_equal(heads_first(X), np.moveaxis(np.asarray(X), 2, 1))
    np.testing.assert_array_equal(heads_last(heads_first(X)), X)


def test_row_major_constrains_the_layout_on_one_device_only(monkeypatch):
    for devices, constraints in ((1, 1), (8, 0)):
        monkeypatch.setattr(jax, "device_count", lambda devices=devices: devices)
        program = jaxprs.trace(row_major, X[0])
        assert jaxprs.primitives(program)["layout_constraint"] == constraints


def test_row_major_keeps_values_and_gradients(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(row_major(x) ** 2)))(X[0])
    np.testing.assert_allclose(value, np.sum(np.asarray(X[0]) ** 2), rtol=1e-6)
    np.testing.assert_array_equal(gradient, 2 * X[0])
