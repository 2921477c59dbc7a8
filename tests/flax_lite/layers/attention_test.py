"""Attention: visibility, values against float64, and dropout on the probabilities."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.layers.attention import (
    attend,
    attention_probabilities,
    attention_scores,
    attention_visibility,
)
from flax_lite.layers.dropout import keep_mask

B, T, N, H = 2, 6, 3, 4


@pytest.fixture(scope="module")
def qkv():
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=(B, T, N, H)), jnp.float32) for _ in range(3)]


def reference(queries, keys, values, mask=None):
    """softmax(Q K^T / sqrt(H)) V in float64, one row, head and query at a time."""
    queries, keys, values = (np.asarray(array, np.float64) for array in (queries, keys, values))
    out = np.zeros_like(queries)
    for row, head, query in itertools.product(range(B), range(N), range(T)):
        seen = np.arange(T) if mask is None else np.flatnonzero(np.broadcast_to(mask, (B, 1, T, T))[row, 0, query])
        scores = keys[row, seen, head] @ queries[row, query, head] / np.sqrt(H)
        weights = np.exp(scores - scores.max())
        out[row, query, head] = weights / weights.sum() @ values[row, seen, head]
    return out


def attention(queries, keys, values, mask=None):
    return attend(attention_scores(queries, keys), values, mask, 0.0, None)


def test_visibility_without_masks_is_none():
    assert attention_visibility(None, None) is None


def test_visibility_hides_padding_keys_from_every_query():
    mask = jnp.asarray([[1, 1, 0], [1, 0, 0]])
    for given in (mask, mask.astype(bool), mask.astype(jnp.float32), 5 * mask):
        visible = attention_visibility(given, None)
        assert visible.dtype == bool
        np.testing.assert_array_equal(visible, np.asarray(mask, bool)[:, None, None, :])


def test_visibility_of_packed_rows_is_block_diagonal():
    segments = np.asarray([[1, 1, 2, 2, 2, 0], [3, 1, 1, 1, 0, 0]])
    mask = segments != 0
    for given in (None, jnp.asarray(mask)):
        visible = attention_visibility(given, jnp.asarray(segments))
        expected = np.asarray(
            [
                [
                    [segments[b, t] == segments[b, s] and (given is None or mask[b, s]) for s in range(T)]
                    for t in range(T)
                ]
                for b in range(B)
            ]
        )
        np.testing.assert_array_equal(visible[:, 0], expected)


@pytest.mark.parametrize("kind", ["none", "padding", "packed"])
def test_attention_equals_float64(qkv, kind):
    """Sums of 4 and 6 terms of order 1 in float32: a few times 2^-24 (6e-8) each."""
    mask = None
    if kind == "padding":
        mask = attention_visibility(jnp.asarray([[1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 1, 1]]), None)
    elif kind == "packed":
        mask = attention_visibility(None, jnp.asarray([[1, 1, 2, 2, 2, 3], [1, 1, 1, 1, 1, 1]]))
    np.testing.assert_allclose(attention(*qkv, mask), reference(*qkv, mask), atol=1e-6, rtol=0)


def test_attention_equals_jax(qkv):
    mask = attention_visibility(jnp.asarray([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]), None)
    expected = jax.nn.dot_product_attention(*qkv, mask=mask, implementation="xla")
    np.testing.assert_allclose(attention(*qkv, mask), expected, atol=1e-6, rtol=0)


def test_scores_are_scaled_and_float32(qkv):
    queries, keys, _ = qkv
    expected = np.einsum("btnh,bsnh->bnts", np.asarray(queries, np.float64), np.asarray(keys, np.float64)) / np.sqrt(H)
    np.testing.assert_allclose(attention_scores(queries, keys), expected, atol=1e-6, rtol=0)
    assert attention_scores(queries.astype(jnp.bfloat16), keys.astype(jnp.bfloat16)).dtype == jnp.float32


def test_probabilities_sum_to_one_and_vanish_where_hidden():
    """exp(min - max) underflows to exactly 0, so hidden keys cannot leak in at any precision."""
    scores = jnp.asarray(np.random.default_rng(1).normal(size=(B, N, T, T)), jnp.float32)
    mask = attention_visibility(jnp.asarray([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]]), None)
    probabilities = np.asarray(attention_probabilities(scores, mask))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, atol=1e-6)
    assert (probabilities[~np.broadcast_to(mask, probabilities.shape)] == 0).all()


@pytest.mark.parametrize("scale", [1e4, 1e30, 3e38])
def test_probabilities_of_huge_scores_are_finite(scale):
    """A mask of -10000 would be lost in scores of that size; the lowest float is not."""
    scores = scale * jnp.asarray([[[[-1.0, -0.5, 1.0]]]])
    mask = jnp.asarray([[[[True, True, False]]]])
    np.testing.assert_array_equal(attention_probabilities(scores, mask), [[[[0.0, 1.0, 0.0]]]])


def test_query_without_visible_keys_averages():
    """Uniform and finite: such a query is padding, which no loss reads, but a NaN there would spread."""
    scores = jnp.asarray(np.random.default_rng(2).normal(size=(1, 1, T, T)), jnp.float32)
    nothing = jnp.zeros((1, 1, 1, T), bool)
    np.testing.assert_allclose(attention_probabilities(scores, nothing), 1 / T, rtol=1e-6)
    gradient = jax.grad(lambda scores: (attention_probabilities(scores, nothing) ** 2).sum())(scores)
    assert np.isfinite(gradient).all()


def test_attend_drops_every_probability_independently():
    """With the identity as values the output is the dropped probabilities themselves: no two rows, heads or queries
    share a mask, and kept probabilities are scaled by 1 / (1 - rate).
    """
    size, rate = 32, 0.5
    scores = jnp.zeros((2, 2, size, size))
    identity = jnp.broadcast_to(jnp.eye(size)[:, None, :], (2, size, 2, size))
    keep = keep_mask(scores.shape, rate, jax.random.key(0))
    dropped = np.moveaxis(np.asarray(attend(scores, identity, None, rate, keep)), 2, 1) * size
    np.testing.assert_allclose(np.unique(dropped), [0.0, 1 / (1 - rate)], rtol=1e-6)
    kept = (dropped > 0).reshape(4, size, size)
    for first, second in itertools.combinations(kept, 2):
        # 1024 draws each: independent masks agree on half of them, 5 deviations are 0.08.
        assert abs((first == second).mean() - 0.5) < 0.08
    assert len({row.tobytes() for row in kept.reshape(-1, size)}) == 4 * size


def test_attend_keeps_the_dtype_of_the_values(qkv):
    _, _, values = qkv
    scores = jnp.zeros((B, N, T, T))
    assert attend(scores, values.astype(jnp.bfloat16), None, 0.0, None).dtype == jnp.bfloat16
