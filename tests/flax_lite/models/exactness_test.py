"""The same results on any number of devices, simulated on the CPU (tests/conftest.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tests.flax_lite import tiny

pytestmark = pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")


def spread_over(mesh, model, batch):
    """Shards the batch's rows over all devices, and parameters over "fsdp" in their last axis if it is divisible."""

    def place(leaf):
        if "fsdp" in mesh.axis_names and leaf.ndim > 1 and leaf.shape[-1] % mesh.shape["fsdp"] == 0:
            return jax.device_put(leaf, NamedSharding(mesh, P(*[None] * (leaf.ndim - 1), "fsdp")))
        return jax.device_put(leaf, NamedSharding(mesh, P()))

    return jax.tree.map(place, model), jax.device_put(batch, NamedSharding(mesh, P(mesh.axis_names)))


@jax.jit
def forward_and_gradient(model, batch, key):
    def loss(model):
        out = model(**batch, key=key)
        return tiny.scalar(out), out

    gradient, out = jax.grad(loss, has_aux=True)(model)
    return out, gradient


@pytest.mark.parametrize(
    ("shape", "stack"),
    [
        # Compiles two more gradient programs; the other mesh also shards rows.
        pytest.param((8,), "shared", marks=pytest.mark.slow),
        ((4, 2), "scanned"),
    ],
)
def test_eight_devices_agree_with_one(shape, stack):
    """Dropout is drawn on the global batch for any layout, so that outputs and gradients (1e-5 relative) agree with
    dropout on: rows over 8 devices, or over 4 x 2 with the parameters split in two.
    """
    config = tiny.STACKS[stack](num_hidden_layers=2)
    model = tiny.make("PreTraining", config)
    ids = tiny.token_ids(config, batch=8)
    batch = {
        "input_ids": ids,
        "attention_mask": jnp.ones_like(ids).at[:3, 4:].set(0),
        "token_type_ids": ids % 2,
        "masked_positions": ids[:, :3] % 7,
    }
    key = jax.random.key(2)
    expected, expected_gradient = forward_and_gradient(model, batch, key)
    found, gradient = forward_and_gradient(*spread_over(tiny.mesh(*shape), model, batch), key)
    assert len(found.prediction_logits.sharding.device_set) == 8
    assert np.abs(expected.prediction_logits - tiny.call(model, **batch).prediction_logits).max() > 1e-2
    # Other shapes on a device change the order of sums: float32 rounding of values of order 1.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5e-6, rtol=0), found, expected)
    tiny.assert_gradients_close(gradient, expected_gradient, 1e-5)
