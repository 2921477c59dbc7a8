"""Losses against their definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from flax_lite.training.losses import cross_entropy, weighted_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = (RNG.normal(size=(3, 5, 11)) * 4).astype(np.float32)
LABELS = RNG.integers(0, 11, (3, 5))
WEIGHTS = RNG.integers(0, 2, (3, 5)).astype(np.float32)


@jax.jit
def measure(logits, labels, weights):
    """Returns the loss of each element, the weighted sums, and the gradient of the summed loss."""
    weighted = jax.value_and_grad(weighted_cross_entropy, has_aux=True)
    (loss, correct), gradient = weighted(logits, labels, weights)
    return cross_entropy(logits, labels), loss, correct, gradient


def _reference(logits, labels):
    logits = np.asarray(logits, np.float64)
    log_normalizer = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    return log_normalizer - np.take_along_axis(logits, labels[..., None], -1)[..., 0]


def test_cross_entropy_equals_float64():
    losses = measure(LOGITS, LABELS, WEIGHTS)[0]
    np.testing.assert_allclose(losses, _reference(LOGITS, LABELS), rtol=1e-5, atol=1e-6)


def test_cross_entropy_of_bfloat16_logits_is_float32():
    """Log-softmax in bfloat16 would keep 8 bits of a loss near 10: an error of 0.04 nats."""
    rounded = LOGITS.astype(jnp.bfloat16)
    found = jax.jit(cross_entropy)(rounded, LABELS)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, _reference(rounded, LABELS), rtol=1e-5, atol=1e-6)


def test_weighted_cross_entropy_counts_weighted_elements_only():
    """Half of the labels equal the argmax, among elements with and without weight."""
    right = np.arange(15).reshape(3, 5) % 2 == 0
    assert 0 < WEIGHTS[right].sum() < right.sum()
    labels = np.where(right, LOGITS.argmax(-1), (LOGITS.argmax(-1) + 1) % 11)
    _, loss, correct, _ = measure(LOGITS, labels, WEIGHTS)
    np.testing.assert_allclose(loss, (WEIGHTS * _reference(LOGITS, labels)).sum(), rtol=1e-5)
    assert correct == WEIGHTS[right].sum()


def test_weighted_cross_entropy_ignores_padding_of_any_value():
    """0 * NaN is NaN, so padding must be excluded, not multiplied by 0."""
    weights, logits = WEIGHTS.copy(), LOGITS.copy()
    weights[0, 0], logits[0, 0] = 0.0, np.nan
    expected, got = measure(LOGITS, LABELS, weights), measure(logits, LABELS, weights)
    np.testing.assert_array_equal(got[1:3], expected[1:3])


def test_label_outside_the_classes_is_nan_unless_its_weight_is_0():
    labels, weights = LABELS.copy(), np.zeros_like(WEIGHTS)
    labels[0, :3], weights[0, 0] = [0, 11, -1], 1.0
    losses, loss, _, gradient = measure(LOGITS, labels, weights)
    assert np.isnan(losses[0, 1:3]).all()
    assert np.isnan(losses).sum() == 2
    np.testing.assert_allclose(loss, _reference(LOGITS, LABELS * 0)[0, 0], rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_weighted_cross_entropy_gradient_is_softmax_minus_one_hot():
    softmax = np.exp(LOGITS - LOGITS.max(-1, keepdims=True))
    softmax /= softmax.sum(-1, keepdims=True)
    expected = WEIGHTS[..., None] * (softmax - np.eye(11)[LABELS])
    np.testing.assert_allclose(measure(LOGITS, LABELS, WEIGHTS)[3], expected, atol=1e-6)
