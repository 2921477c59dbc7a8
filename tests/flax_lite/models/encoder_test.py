"""What an encoder must not depend on, and what it must; for each family, on random parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.layers.execution import Execution
from flax_lite.models.params import get_params
from tests.flax_lite import tiny

# Equal functions computed in another order or shape: float32 rounding through three layers of values of order 1.
ROUNDING = 5e-6


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def encoder(request):
    return tiny.make("Encoder", tiny.FAMILIES[request.param]())


def last(encoder, *args, **kwargs):
    return np.asarray(tiny.call(encoder, *args, **kwargs).last_hidden_state)


def spelled_out(encoder, ids, *, mask=None, types=None, positions=None, segments=None):
    """`last` with every input given, so that all calls are one compiled program; what is None is what None means."""
    ones = np.ones(ids.shape, np.int32)
    order = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
    defaults = ((mask, ones), (types, 0 * ones), (positions, order), (segments, ones))
    return last(encoder, ids, *(jnp.asarray(default if given is None else given) for given, default in defaults))


def test_output_shapes(encoder):
    out = tiny.call(encoder, tiny.token_ids(encoder.config))
    assert out.last_hidden_state.shape == (2, 7, 12)
    if encoder.config.model_type == "distilbert":
        assert out.pooler_output is None
    else:
        assert out.pooler_output.shape == (2, 12)
        pooler = get_params(encoder)["pooler"]
        expected = np.tanh(np.asarray(out.last_hidden_state)[:, 0] @ pooler["kernel"] + pooler["bias"])
        np.testing.assert_allclose(out.pooler_output, expected, atol=ROUNDING, rtol=0)


def test_padding_changes_nothing(encoder):
    """A padding key has probability exactly 0, LayerNorm and Dense act on one token: real tokens come out as if no
    padding were there, whatever the padding holds.
    """
    ids = tiny.token_ids(encoder.config)
    bare = last(encoder, ids[:, :5])
    mask = [[1] * 5 + [0] * 2] * 2
    padded = spelled_out(encoder, ids, mask=mask)
    np.testing.assert_allclose(padded[:, :5], bare, atol=ROUNDING, rtol=0)
    other = spelled_out(encoder, ids.at[:, 5:].set(3), mask=mask)
    np.testing.assert_array_equal(other[:, :5], padded[:, :5])
    assert np.abs(last(encoder, ids) - padded)[:, :5].max() > 1e-2


def test_inputs_that_are_left_out_mean_ones_zeros_and_counting(encoder):
    """A mask of ones is no mask, token types default to zeros, positions count from 0, and a row is one text."""
    ids = tiny.token_ids(encoder.config)
    np.testing.assert_allclose(spelled_out(encoder, ids), last(encoder, ids), atol=ROUNDING, rtol=0)


def test_rows_do_not_see_each_other(encoder):
    """No operation mixes the batch axis: a row's output stands alone, and another row's content cannot move a bit of
    it.
    """
    ids = tiny.token_ids(encoder.config)
    both = last(encoder, ids)
    np.testing.assert_allclose(both[:1], last(encoder, ids[:1]), atol=ROUNDING, rtol=0)
    np.testing.assert_array_equal(both[0], last(encoder, ids.at[1].set(ids[1, ::-1]))[0])


def test_order_of_tokens_enters_through_positions_only(encoder):
    """Attention and feed-forward are blind to order: tokens permuted together with their positions give permuted
    outputs; without their positions they do not.
    """
    ids = tiny.token_ids(encoder.config)
    order = np.asarray([3, 1, 6, 0, 5, 2, 4], np.int32)
    plain = last(encoder, ids)
    permuted = spelled_out(encoder, ids[:, order], positions=np.broadcast_to(order, (2, 7)))
    np.testing.assert_allclose(permuted, plain[:, order], atol=ROUNDING, rtol=0)
    assert np.abs(spelled_out(encoder, ids[:, order]) - plain[:, order]).max() > 1e-2


PACKED = {"segments": [[1, 1, 1, 1, 1, 2, 2]] * 2, "positions": [[0, 1, 2, 3, 4, 0, 1]] * 2}


def test_packed_texts_come_out_as_if_alone(encoder):
    """With block-diagonal attention and positions that restart, a packed text's every operation is the one it has in a
    row of its own.
    """
    ids = tiny.token_ids(encoder.config)
    together = spelled_out(encoder, ids, **PACKED)
    np.testing.assert_allclose(together[:, :5], last(encoder, ids[:, :5]), atol=ROUNDING, rtol=0)
    np.testing.assert_allclose(together[:, 5:], last(encoder, ids[:, 5:]), atol=ROUNDING, rtol=0)


def test_packed_neighbor_cannot_be_felt(encoder):
    """Hidden keys have probability exactly 0, so a change of the neighbor must not move a bit."""
    ids = tiny.token_ids(encoder.config)
    changed = ids.at[:, 0].set(ids[:, 0] % 40 + 1)
    before, after = spelled_out(encoder, ids, **PACKED), spelled_out(encoder, changed, **PACKED)
    np.testing.assert_array_equal(before[:, 5:], after[:, 5:])
    assert np.abs(before[:, :5] - after[:, :5]).max() > 1e-2


def test_padding_inside_packed_rows_is_hidden(encoder):
    ids = tiny.token_ids(encoder.config)
    mask = np.asarray([[1, 1, 0, 1, 1, 1, 0]] * 2)
    before = spelled_out(encoder, ids, mask=mask, **PACKED)
    after = spelled_out(encoder, ids.at[:, jnp.asarray([2, 6])].set(3), mask=mask, **PACKED)
    kept = mask[0].astype(bool)
    np.testing.assert_array_equal(before[:, kept], after[:, kept])


def test_fully_masked_row_is_finite(encoder):
    """A row of padding only, as in the last evaluation batch, must not put a NaN into sums over the batch or their
    gradient.
    """
    ids = tiny.token_ids(encoder.config)
    mask = jnp.ones_like(ids).at[1].set(0)
    assert np.isfinite(spelled_out(encoder, ids, mask=mask)).all()
    value, gradient = tiny.value_and_grad(encoder, ids, mask, jnp.zeros_like(ids))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradient)))


def test_token_types(encoder):
    """They change the output of BERT and ALBERT, and mean nothing to DistilBERT."""
    ids = tiny.token_ids(encoder.config)
    plain, typed = spelled_out(encoder, ids), spelled_out(encoder, ids, types=[[0] * 4 + [1] * 3] * 2)
    if encoder.config.model_type == "distilbert":
        np.testing.assert_array_equal(typed, plain)
    else:
        assert np.abs(typed - plain).max() > 1e-2


def test_rows_longer_than_the_position_table_are_refused(encoder):
    """Where positions restart, as in packed rows, only the positions themselves are bounded."""
    ids = tiny.token_ids(encoder.config, length=17)
    shape = jax.eval_shape(encoder, ids[:, :16]).last_hidden_state.shape
    assert shape == (2, 16, 12), "the longest row is allowed"
    with pytest.raises(ValueError, match=r"17 tokens.*max_position_embeddings=16"):
        encoder(ids)
    restarting = jnp.broadcast_to(jnp.arange(17) % 9, ids.shape)
    run = lambda encoder, ids, positions: encoder(ids, position_ids=positions).last_hidden_state  # noqa: E731
    assert jax.eval_shape(run, encoder, ids, restarting).shape == (2, 17, 12)


def test_ids_outside_the_tables_are_not_silent(encoder):
    """JAX clamps an index outside a table by default, and a wrong tokenizer would train on; here the row turns into
    NaN.
    """
    ids = tiny.token_ids(encoder.config).at[0, 0].set(41)
    assert np.isnan(last(encoder, ids)[0]).all()


def test_outputs_of_bfloat16_stay_bfloat16(encoder):
    model = tiny.make("Encoder", encoder.config, execution=Execution(dtype="bfloat16"))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(model))
    run = functools.partial(model, output_hidden_states=True)
    out = jax.eval_shape(run, tiny.token_ids(encoder.config))
    assert (out.last_hidden_state.dtype, out.hidden_states.dtype) == (jnp.bfloat16, jnp.bfloat16)


def test_pooler_can_be_left_out():
    encoder = tiny.make("Encoder", tiny.bert(), add_pooler=False)
    assert "pooler" not in get_params(encoder)
    assert jax.eval_shape(encoder, tiny.token_ids(encoder.config)).pooler_output is None


def test_every_parameter_gets_a_gradient(encoder):
    """A parameter without one is one the output does not depend on. The key bias has an exactly zero gradient: it
    shifts all scores of a query alike, and softmax does not see it.
    """
    types = jnp.zeros((2, 7), jnp.int32).at[:, 4:].set(1)
    ids = tiny.token_ids(encoder.config)
    value, gradient = tiny.value_and_grad(encoder, ids, jnp.ones_like(ids), types)
    assert np.isfinite(value)
    for path, leaf in jax.tree_util.tree_leaves_with_path(get_params(gradient)):
        name = "/".join(str(entry.key) for entry in path)
        largest = np.abs(np.asarray(leaf)).max()
        if name.endswith("attention/key/bias"):
            assert largest < 1e-5, name
        else:
            assert largest > 1e-4, name
