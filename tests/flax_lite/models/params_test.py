"""Sharding rules, on 8 CPU devices (tests/conftest.py)."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import PartitionSpec

from flax_lite.models.params import tree_shardings
from tests.flax_lite import tiny


def abstract_state():
    params = {
        "encoder": {
            "layer": {"query": {"kernel": jnp.zeros((256, 512)), "bias": jnp.zeros((512,))}},
            "layers": {"query": {"kernel": jnp.zeros((512, 16, 64)), "bias": jnp.zeros((512, 64))}},
            "word": {"embedding": jnp.zeros((30001, 128))},
            "odd": {"kernel": jnp.zeros((333, 333))},
            "small": {"kernel": jnp.zeros((16, 16))},
        }
    }
    return jax.eval_shape(lambda: {"step": jnp.int32(0), "params": params, "opt_state": optax.adam(1e-3).init(params)})


def test_rules_split_large_matrices_and_their_moments_alike():
    specs = jax.tree.map(lambda sharding: sharding.spec, tree_shardings(abstract_state(), tiny.mesh(2, 4)))
    encoder = specs["params"]["encoder"]
    assert encoder["layer"]["query"]["kernel"] == PartitionSpec(None, "fsdp")
    assert encoder["layers"]["query"]["kernel"] == PartitionSpec(None, None, "fsdp")  # never the scanned axis
    assert encoder["word"]["embedding"] == PartitionSpec(None, "fsdp")  # 30001 does not divide
    replicated = (
        encoder["odd"]["kernel"],
        encoder["small"]["kernel"],
        encoder["layer"]["query"]["bias"],
        specs["step"],
    )
    assert set(replicated) == {PartitionSpec()}
    assert specs["opt_state"][0].mu == specs["params"]
    assert specs["opt_state"][0].nu == specs["params"]


@pytest.mark.parametrize("sizes", [(8, 1), (8,)])
def test_rules_replicate_without_fsdp(sizes):
    """With an axis of one device, and without that axis."""
    shardings = jax.tree.leaves(tree_shardings(abstract_state(), tiny.mesh(*sizes)))
    assert all(sharding.is_fully_replicated for sharding in shardings)
