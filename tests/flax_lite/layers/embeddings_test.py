"""Ids outside their tables: NaN, or rows from the end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flax_lite.layers.embeddings import Embeddings
from flax_lite.layers.execution import Execution
from tests.flax_lite import tiny

IDS = np.array([[1, 2, 3, 4]], np.int32)


def with_id(position, value):
    ids = IDS.copy()
    ids[0, position] = value
    return ids


@pytest.mark.parametrize("types", [2, 12], ids=["few types", "many types"])
def test_ids_outside_their_tables(types):
    config = tiny.bert(type_vocab_size=types)
    execution = Execution().resolve(3)
    embed = jax.jit(Embeddings(config, execution, rngs=nnx.Rngs(0)).__call__)
    zeros, positions = np.zeros_like(IDS), np.arange(4, dtype=np.int32)[None]
    # Words, token types, positions, and the token that becomes NaN (None: no token).
    cases = [
        (with_id(1, config.vocab_size), zeros, positions, 1),
        (IDS, np.array([[0, 1, types, 1]], np.int32), positions, 2),
        (IDS, zeros, with_id(3, config.max_position_embeddings), 3),
        (IDS, zeros, positions, None),
    ]
    for words, token_types, position_ids, nan_token in cases:
        found = np.isnan(np.asarray(embed(words, token_types, position_ids))).all(-1)[0]
        assert found.tolist() == [token == nan_token for token in range(4)]
    last = embed(with_id(1, config.vocab_size - 1), zeros, positions)
    assert jnp.array_equal(embed(with_id(1, -1), zeros, positions), last)
