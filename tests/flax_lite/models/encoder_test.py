"""Invariances and dependences of the encoder, for each family, on random parameters."""

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


def last_explicit(encoder, ids, *, mask=None, types=None, positions=None, segments=None):
    """`last` with every input explicit, so that all calls share a compiled program; None stands for the default."""
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
    """A padding key has probability exactly 0, and LayerNorm and Dense act on single tokens: padding of any value does
    not change the output of real tokens.
    """
    ids = tiny.token_ids(encoder.config)
    bare = last(encoder, ids[:, :5])
    mask = [[1] * 5 + [0] * 2] * 2
    padded = last_explicit(encoder, ids, mask=mask)
    np.testing.assert_allclose(padded[:, :5], bare, atol=ROUNDING, rtol=0)
    other = last_explicit(encoder, ids.at[:, 5:].set(3), mask=mask)
    np.testing.assert_array_equal(other[:, :5], padded[:, :5])
    assert np.abs(last(encoder, ids) - padded)[:, :5].max() > 1e-2


def test_defaults_of_the_inputs(encoder):
    """The mask defaults to ones, token types to zeros, positions to 0 to T-1, and a row is one text."""
    ids = tiny.token_ids(encoder.config)
    np.testing.assert_allclose(last_explicit(encoder, ids), last(encoder, ids), atol=ROUNDING, rtol=0)


def test_rows_are_independent(encoder):
    """No operation mixes the batch axis: a change of one row does not change a bit of another row's output."""
    ids = tiny.token_ids(encoder.config)
    both = last(encoder, ids)
    np.testing.assert_allclose(both[:1], last(encoder, ids[:1]), atol=ROUNDING, rtol=0)
    np.testing.assert_array_equal(both[0], last(encoder, ids.at[1].set(ids[1, ::-1]))[0])


def test_order_of_tokens_enters_through_positions_only(encoder):
    """Attention and feed-forward are permutation-equivariant: tokens permuted together with their positions have
    permuted outputs; without their positions they do not.
    """
    ids = tiny.token_ids(encoder.config)
    order = np.asarray([3, 1, 6, 0, 5, 2, 4], np.int32)
    plain = last(encoder, ids)
    permuted = last_explicit(encoder, ids[:, order], positions=np.broadcast_to(order, (2, 7)))
    np.testing.assert_allclose(permuted, plain[:, order], atol=ROUNDING, rtol=0)
    assert np.abs(last_explicit(encoder, ids[:, order]) - plain[:, order]).max() > 1e-2


PACKED = {"segments": [[1, 1, 1, 1, 1, 2, 2]] * 2, "positions": [[0, 1, 2, 3, 4, 0, 1]] * 2}


def test_packed_texts_equal_separate_rows(encoder):
    """With block-diagonal attention and restarting positions, a packed text is computed as in a separate row."""
    ids = tiny.token_ids(encoder.config)
    packed = last_explicit(encoder, ids, **PACKED)
    np.testing.assert_allclose(packed[:, :5], last(encoder, ids[:, :5]), atol=ROUNDING, rtol=0)
    np.testing.assert_allclose(packed[:, 5:], last(encoder, ids[:, 5:]), atol=ROUNDING, rtol=0)


def test_packed_texts_do_not_depend_on_their_neighbors(encoder):
    """Hidden keys have probability exactly 0, so a change of the neighbor changes no bit."""
    ids = tiny.token_ids(encoder.config)
    changed = ids.at[:, 0].set(ids[:, 0] % 40 + 1)
    before, after = last_explicit(encoder, ids, **PACKED), last_explicit(encoder, changed, **PACKED)
    np.testing.assert_array_equal(before[:, 5:], after[:, 5:])
    assert np.abs(before[:, :5] - after[:, :5]).max() > 1e-2


def test_padding_inside_packed_rows_is_hidden(encoder):
    ids = tiny.token_ids(encoder.config)
    mask = np.asarray([[1, 1, 0, 1, 1, 1, 0]] * 2)
    before = last_explicit(encoder, ids, mask=mask, **PACKED)
    after = last_explicit(encoder, ids.at[:, jnp.asarray([2, 6])].set(3), mask=mask, **PACKED)
    kept = mask[0].astype(bool)
    np.testing.assert_array_equal(before[:, kept], after[:, kept])


def test_fully_masked_row_is_finite(encoder):
    """A row of padding only, as in the last evaluation batch, must not cause NaN in sums over the batch or their
    gradients.
    """
    ids = tiny.token_ids(encoder.config)
    mask = jnp.ones_like(ids).at[1].set(0)
    assert np.isfinite(last_explicit(encoder, ids, mask=mask)).all()
    value, gradient = tiny.value_and_grad(encoder, ids, mask, jnp.zeros_like(ids))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradient)))


def test_token_types(encoder):
    """They change the output of BERT and ALBERT, and DistilBERT ignores them."""
    ids = tiny.token_ids(encoder.config)
    plain, typed = last_explicit(encoder, ids), last_explicit(encoder, ids, types=[[0] * 4 + [1] * 3] * 2)
    if encoder.config.model_type == "distilbert":
        np.testing.assert_array_equal(typed, plain)
    else:
        assert np.abs(typed - plain).max() > 1e-2


def test_rows_longer_than_the_position_table_are_refused(encoder):
    """With restarting positions, as in packed rows, only the positions are limited, not the length."""
    ids = tiny.token_ids(encoder.config, length=17)
    shape = jax.eval_shape(encoder, ids[:, :16]).last_hidden_state.shape
    assert shape == (2, 16, 12), "a row of maximum length is allowed"
    with pytest.raises(ValueError, match=r"17 tokens.*max_position_embeddings=16"):
        encoder(ids)
    restarting = jnp.broadcast_to(jnp.arange(17) % 9, ids.shape)
    run = lambda encoder, ids, positions: encoder(ids, position_ids=positions).last_hidden_state  # noqa: E731
    assert jax.eval_shape(run, encoder, ids, restarting).shape == (2, 17, 12)


def test_ids_outside_the_table_make_the_row_nan(encoder):
    """JAX clamps an index outside a table by default, so that training with a wrong tokenizer would go unnoticed."""
    ids = tiny.token_ids(encoder.config).at[0, 0].set(41)
    assert np.isnan(last(encoder, ids)[0]).all()


def test_outputs_of_bfloat16_stay_bfloat16(encoder):
    model = tiny.make("Encoder", encoder.config, execution=Execution(dtype="bfloat16"))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(model))
    run = functools.partial(model, output_hidden_states=True)
    out = jax.eval_shape(run, tiny.token_ids(encoder.config))
    assert (out.last_hidden_state.dtype, out.hidden_states.dtype) == (jnp.bfloat16, jnp.bfloat16)


def test_pooler_is_optional():
    encoder = tiny.make("Encoder", tiny.bert(), add_pooler=False)
    assert "pooler" not in get_params(encoder)
    assert jax.eval_shape(encoder, tiny.token_ids(encoder.config)).pooler_output is None


def test_every_parameter_gets_a_gradient(encoder):
    """A parameter without gradient would not affect the output. Only the key bias has an exactly zero gradient: it
    shifts all scores of a query equally, to which softmax is invariant.
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
