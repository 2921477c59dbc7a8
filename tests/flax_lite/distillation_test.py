"""Distillation losses against their definitions in float64, their gradients, and what exists on the way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.distillation import (
    cosine_distance,
    logit_squared_error,
    mean_squared_error,
    soft_cross_entropy,
    sum_in_chunks,
)
from tests.flax_lite.jaxprs import largest_intermediates, trace
from tests.flax_lite.precision import double, single

B, T, D, V = 3, 10, 6, 11
RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, B, T, V)) * 4
HIDDEN, TARGET = RNG.normal(size=(2, B, T, D))
TABLE = RNG.normal(size=(V, D))
WEIGHTS = (RNG.random((B, T)) < 0.7).astype(np.float64)
LOSSES = soft_cross_entropy, cosine_distance, logit_squared_error, mean_squared_error


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def divergence(student, teacher, temperature):
    """sum p_t (ln p_t - ln p_s) T^2, written out."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return temperature**2 * (p * (np.log(p) - np.log(q))).sum(-1)


def distance(student, teacher):
    norms = np.linalg.norm(student, axis=-1) * np.linalg.norm(teacher, axis=-1)
    return 1 - (student * teacher).sum(-1) / norms


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0])
def test_soft_cross_entropy_equals_its_definition(temperature):
    expected = divergence(STUDENT, TEACHER, temperature)
    ours = lambda s, t: soft_cross_entropy(s, t, temperature)  # noqa: E731
    np.testing.assert_allclose(double(ours, STUDENT, TEACHER), expected, rtol=1e-10, atol=1e-10)
    # A divergence near 0 is a difference of logarithms near 10: relative to those.
    np.testing.assert_allclose(single(ours, STUDENT, TEACHER), expected, rtol=1e-5, atol=1e-5)


def test_cosine_distance_equals_its_definition():
    np.testing.assert_allclose(
        double(cosine_distance, HIDDEN, TARGET), distance(HIDDEN, TARGET), rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(single(cosine_distance, HIDDEN, TARGET), distance(HIDDEN, TARGET), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("loss", "divisor"), [(logit_squared_error, 1), (mean_squared_error, V)])
def test_squared_errors_equal_their_definitions(loss, divisor):
    """A sum over the vocabulary, a mean over the width; the gradient is 2 (s - t) over the same divisor."""
    expected = np.zeros((B, T))
    for row, token, element in np.ndindex(B, T, V):
        expected[row, token] += (STUDENT[row, token, element] - TEACHER[row, token, element]) ** 2 / divisor
    np.testing.assert_allclose(double(loss, STUDENT, TEACHER), expected, rtol=1e-10)
    np.testing.assert_allclose(single(loss, STUDENT, TEACHER), expected, rtol=1e-5)
    gradient = double(jax.grad(lambda s, t: loss(s, t).sum()), STUDENT, TEACHER)
    np.testing.assert_allclose(gradient, 2 * (STUDENT - TEACHER) / divisor, rtol=1e-10)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 10.0])
def test_soft_cross_entropy_gradient_has_its_scale(temperature):
    """d/ds of T^2 KL is T (softmax(s/T) - softmax(t/T)): 1/T of it from s/T, T^2 from the factor."""
    gradient = jax.grad(lambda s, t: soft_cross_entropy(s, t, temperature).sum())
    expected = temperature * (softmax(STUDENT / temperature) - softmax(TEACHER / temperature))
    np.testing.assert_allclose(double(gradient, STUDENT, TEACHER), expected, rtol=1e-10, atol=1e-10)


def test_soft_cross_entropy_of_high_temperature_matches_logits():
    """(s - t) / V, both centred, as the limit."""
    gradient = double(jax.grad(lambda s, t: soft_cross_entropy(s, t, 1e5).sum()), STUDENT, TEACHER)
    centred = [logits - logits.mean(-1, keepdims=True) for logits in (STUDENT, TEACHER)]
    np.testing.assert_allclose(gradient, (centred[0] - centred[1]) / V, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_least_where_the_student_is_the_teacher(loss):
    """There they are 0 with a gradient of 0; anywhere near they are more. And the teacher learns nothing."""
    value, gradient = (function(lambda s, t: loss(s, t).sum()) for function in (lambda f: f, jax.grad))
    assert abs(double(value, STUDENT, STUDENT)) < 1e-10
    np.testing.assert_allclose(double(gradient, STUDENT, STUDENT), 0, atol=1e-10)
    for seed in range(5):
        near = STUDENT + 1e-3 * np.random.default_rng(seed).normal(size=STUDENT.shape)
        assert (double(loss, near, STUDENT) > 0).all()
    teacher = double(jax.grad(lambda s, t: loss(s, t).sum(), argnums=1), STUDENT, TEACHER)
    assert not teacher.any()


def test_losses_of_bfloat16_are_float32():
    for loss in LOSSES:
        assert loss(*(jnp.asarray(x, jnp.bfloat16) for x in (STUDENT, TEACHER))).dtype == jnp.float32


def test_soft_cross_entropy_refuses_impossible_temperatures():
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature above 0"):
            soft_cross_entropy(jnp.ones(3), jnp.ones(3), temperature)


def chunked(table, hidden, target, weights, chunk_length):
    """The divergence of logits that are made of hidden states, token by token."""
    logits = lambda states: jnp.einsum("BCD,VD->BCV", states, table)  # noqa: E731
    loss = lambda student, teacher: soft_cross_entropy(logits(student), logits(teacher))  # noqa: E731
    return sum_in_chunks(loss, hidden, target, weights=weights, chunk_length=chunk_length)


@pytest.mark.parametrize("chunk_length", [1, 3, 5, 10, 64])
def test_sum_in_chunks_is_the_sum_over_all_tokens(chunk_length):
    """Value and gradients, those of what the loss closes over included, with a last chunk that is short or none."""

    def whole(table, hidden, target, weights):
        logits = [jnp.einsum("BTD,VD->BTV", states, table) for states in (hidden, target)]
        return jnp.sum(weights * soft_cross_entropy(*logits))

    ours = lambda *arrays: chunked(*arrays, chunk_length)  # noqa: E731
    arrays = TABLE, HIDDEN, TARGET, WEIGHTS
    np.testing.assert_allclose(double(ours, *arrays), double(whole, *arrays), rtol=1e-10)
    for place in (0, 1):
        expected = double(jax.grad(whole, argnums=place), *arrays)
        np.testing.assert_allclose(double(jax.grad(ours, argnums=place), *arrays), expected, rtol=1e-9, atol=1e-12)


def test_sum_in_chunks_ignores_padding_whatever_it_holds():
    """0 * NaN is NaN: so padding is left out before the loss, or its gradient would be NaN."""
    value_and_grad = jax.value_and_grad(lambda t, h, g, w: chunked(t, h, g, w, 4), argnums=(0, 1))
    clean = [jnp.asarray(array, jnp.float32) for array in (TABLE, HIDDEN, TARGET, WEIGHTS)]
    expected = value_and_grad(*clean)
    spoilt = [jnp.where(clean[3][:, :, None] > 0, array, jnp.nan) for array in clean[1:3]]
    got = value_and_grad(clean[0], *spoilt, clean[3])
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_sum_in_chunks_holds_the_logits_of_one_chunk_only():
    """Forward and backward, no array reaches B * T * V elements; without chunks one does."""
    length, vocab = 64, 101
    arrays = jnp.ones((vocab, D)), jnp.ones((B, length, D)), jnp.ones((B, length, D)), jnp.ones((B, length))
    for chunk_length, is_small in ((8, True), (length, False)):
        gradient = jax.grad(lambda *a, c=chunk_length: chunked(*a, c), argnums=(0, 1))
        largest = largest_intermediates(trace(gradient, *arrays))[0]
        assert largest.elements <= B * chunk_length * vocab
        assert (largest.elements < B * length * vocab) == is_small


def test_sum_in_chunks_keeps_a_sharded_batch_where_it_is():
    """Chunks go along the rows: each device scans its own rows, and only the sums cross between devices."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    arrays = [jax.device_put(np.ones(shape, np.float32), rows) for shape in ((8, 12, D), (8, 12, D), (8, 12))]
    table = jax.device_put(TABLE.astype(np.float32), jax.NamedSharding(mesh, jax.P()))
    gradient = jax.jit(jax.grad(lambda *a: chunked(*a, 4), argnums=(0, 1)))
    program = gradient.lower(table, *arrays).compile().as_text()
    assert "all-reduce" in program
    assert not any(name in program for name in ("all-gather", "all-to-all", "collective-permute"))


def test_sum_in_chunks_refuses_no_length():
    with pytest.raises(ValueError, match="at least 1"):
        sum_in_chunks(lambda x: x[..., 0], jnp.ones((1, 2, 3)), weights=jnp.ones((1, 2)), chunk_length=0)
