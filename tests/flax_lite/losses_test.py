"""Losses against their definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.losses import cross_entropy, weighted_cross_entropy


@pytest.fixture(scope="module")
def example():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5, 11)) * 4
    labels = rng.integers(0, 11, (3, 5))
    weights = rng.integers(0, 2, (3, 5)).astype(np.float64)
    return logits, labels, weights


def _reference(logits, labels):
    log_normaliser = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    return log_normaliser - np.take_along_axis(logits, labels[..., None], -1)[..., 0]


def test_cross_entropy_equals_float64(example):
    logits, labels, _ = example
    ours = cross_entropy(jnp.asarray(logits, jnp.float32), jnp.asarray(labels))
    np.testing.assert_allclose(ours, _reference(logits, labels), rtol=1e-5, atol=1e-6)


def test_cross_entropy_of_bfloat16_logits_is_float32(example):
    """Log-softmax in bfloat16 would keep 8 bits of a loss near 10: an error of 0.04 nats."""
    logits, labels, _ = example
    rounded = jnp.asarray(logits, jnp.bfloat16)
    ours = cross_entropy(rounded, jnp.asarray(labels))
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, _reference(np.asarray(rounded, np.float64), labels), rtol=1e-5, atol=1e-6)


def test_weighted_cross_entropy_counts_weighted_elements_only(example):
    logits, labels, weights = example
    loss, correct = weighted_cross_entropy(jnp.asarray(logits, jnp.float32), jnp.asarray(labels), jnp.asarray(weights))
    np.testing.assert_allclose(loss, (weights * _reference(logits, labels)).sum(), rtol=1e-5)
    assert correct == (weights * (logits.argmax(-1) == labels)).sum()


def test_weighted_cross_entropy_ignores_padding_whatever_its_logits(example):
    """A padding element may hold anything: 0 * NaN is NaN, so it must be left out, not multiplied."""
    logits, labels, weights = (np.array(array) for array in example)
    weights[0, 0] = 0.0
    expected = weighted_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weights))
    logits[0, 0] = np.nan
    got = weighted_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weights))
    np.testing.assert_array_equal(got, expected)


def test_a_label_that_is_no_class_is_nan_unless_it_has_no_weight():
    logits, labels = jnp.zeros((1, 3, 4)), jnp.asarray([[0, 4, -1]])
    np.testing.assert_array_equal(np.isnan(cross_entropy(logits, labels)), [[False, True, True]])
    total, _ = weighted_cross_entropy(logits, labels, jnp.asarray([[1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(total, np.log(4), rtol=1e-6)
    gradient = jax.grad(lambda logits: weighted_cross_entropy(logits, labels, jnp.asarray([[1.0, 0.0, 0.0]]))[0])(
        logits
    )
    assert np.isfinite(gradient).all()


def test_weighted_cross_entropy_gradient_is_softmax_minus_one_hot(example):
    logits, labels, weights = example
    loss = lambda x: weighted_cross_entropy(x, jnp.asarray(labels), jnp.asarray(weights))[0]  # noqa: E731
    gradient = jax.grad(loss)(jnp.asarray(logits, jnp.float32))
    softmax = np.exp(logits - logits.max(-1, keepdims=True))
    softmax /= softmax.sum(-1, keepdims=True)
    np.testing.assert_allclose(gradient, weights[..., None] * (softmax - np.eye(11)[labels]), atol=1e-6)
