"""Distillation losses against their definitions in float64, their gradients, and their intermediates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.training.losses import (
    cosine_distance,
    distillation_kl,
    logit_squared_error,
    mean_squared_error,
    sum_in_chunks,
)
from tests.flax_lite import tiny
from tests.flax_lite.jaxprs import largest_intermediates, trace

B, T, D, V = 3, 10, 6, 11
RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, B, T, V)) * 4
HIDDEN, TARGET = RNG.normal(size=(2, B, T, D))
TABLE = RNG.normal(size=(V, D))
WEIGHTS = (RNG.random((B, T)) < 0.7).astype(np.float64)
TEMPERATURES = 0.5, 1.0, 2.0, 10.0, 1e5
LOSSES = {
    "cosine": cosine_distance,
    "logits": logit_squared_error,
    "mean": mean_squared_error,
    **{f"T={each}": functools.partial(distillation_kl, temperature=each) for each in TEMPERATURES},
}


@jax.jit
def _program(student, teacher):
    def total(loss, *arrays):
        losses = loss(*arrays)
        return losses.sum(), losses

    both = lambda loss: jax.grad(functools.partial(total, loss), argnums=(0, 1), has_aux=True)(student, teacher)  # noqa: E731
    return {name: both(loss) for name, loss in LOSSES.items()}


def measure(student, teacher, dtype=np.float64):
    """For each loss, its gradients with respect to student and teacher and its value per token, in `dtype`."""
    with jax.enable_x64(dtype == np.float64):
        return jax.device_get(_program(np.asarray(student, dtype), np.asarray(teacher, dtype)))


@pytest.fixture(scope="module")
def double():
    return measure(STUDENT, TEACHER)


@pytest.fixture(scope="module")
def single():
    return measure(STUDENT, TEACHER, np.float32)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_distillation_kl_equals_its_definition(double, single):
    """T^2 sum p_t (ln p_t - ln p_s), written out."""
    for temperature in TEMPERATURES[:4]:
        p, q = softmax(TEACHER / temperature), softmax(STUDENT / temperature)
        expected = temperature**2 * (p * (np.log(p) - np.log(q))).sum(-1)
        np.testing.assert_allclose(double[f"T={temperature}"][1], expected, rtol=1e-10, atol=1e-10)
        # A divergence near 0 is a difference of logarithms near 10, to which the tolerance is relative.
        np.testing.assert_allclose(single[f"T={temperature}"][1], expected, rtol=1e-5, atol=1e-5)


def test_cosine_distance_equals_its_definition(double, single):
    norms = np.linalg.norm(STUDENT, axis=-1) * np.linalg.norm(TEACHER, axis=-1)
    expected = 1 - (STUDENT * TEACHER).sum(-1) / norms
    np.testing.assert_allclose(double["cosine"][1], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(single["cosine"][1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("loss", "divisor"), [("logits", 1), ("mean", V)])
def test_squared_errors_equal_their_definitions(loss, divisor, double, single):
    """A sum over the vocabulary, or a mean over the width; the gradient is 2 (s - t) over the same divisor."""
    expected = np.zeros((B, T))
    for row, token, element in np.ndindex(B, T, V):
        expected[row, token] += (STUDENT[row, token, element] - TEACHER[row, token, element]) ** 2 / divisor
    (gradient, _), losses = double[loss]
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    np.testing.assert_allclose(single[loss][1], expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, 2 * (STUDENT - TEACHER) / divisor, rtol=1e-10)


def test_distillation_kl_gradient_has_its_scale(double):
    """d/ds of T^2 KL is T (softmax(s/T) - softmax(t/T)): a factor of 1/T from s/T, and T^2."""
    for temperature in TEMPERATURES[:4]:
        expected = temperature * (softmax(STUDENT / temperature) - softmax(TEACHER / temperature))
        np.testing.assert_allclose(double[f"T={temperature}"][0][0], expected, rtol=1e-10, atol=1e-10)


def test_distillation_kl_of_high_temperature_matches_logits(double):
    """(s - t) / V, both centered, as the limit."""
    centered = [logits - logits.mean(-1, keepdims=True) for logits in (STUDENT, TEACHER)]
    np.testing.assert_allclose(double["T=100000.0"][0][0], (centered[0] - centered[1]) / V, rtol=1e-3, atol=1e-4)


def test_losses_are_minimal_for_equal_student_and_teacher(double):
    """There they are 0 with a gradient of 0, and above 0 nearby. The teacher has no gradient."""
    near = STUDENT + 1e-3 * np.random.default_rng(0).normal(size=STUDENT.shape)
    same, other = measure(STUDENT, STUDENT), measure(near, STUDENT)
    for name in LOSSES:
        (by_student, _), losses = same[name]
        if name != "T=100000.0":  # T^2 magnifies rounding
            np.testing.assert_allclose(losses, 0, atol=1e-10)
            np.testing.assert_allclose(by_student, 0, atol=1e-10)
            assert (other[name][1] > 0).all()
        assert not double[name][0][1].any()


def test_losses_of_bfloat16_are_float32():
    narrow = jax.ShapeDtypeStruct(STUDENT.shape, jnp.bfloat16)
    for loss in LOSSES.values():
        assert jax.eval_shape(loss, narrow, narrow).dtype == jnp.float32


def test_distillation_kl_refuses_impossible_temperatures():
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature above 0"):
            distillation_kl(jnp.ones(3), jnp.ones(3), temperature)


def chunked(table, hidden, target, weights, chunk_length):
    """The sum in chunks of the divergence of logits that are computed from hidden states."""
    logits = lambda states: jnp.einsum("BCD,VD->BCV", states, table)  # noqa: E731
    loss = lambda student, teacher: distillation_kl(logits(student), logits(teacher))  # noqa: E731
    return sum_in_chunks(loss, hidden, target, weights=weights, chunk_length=chunk_length)


def test_sum_in_chunks_is_the_sum_over_all_tokens():
    """Value and gradients, also of closed-over parameters, with and without a short last chunk."""

    def whole(table, hidden, target, weights):
        logits = [jnp.einsum("BTD,VD->BTV", states, table) for states in (hidden, target)]
        return jnp.sum(weights * distillation_kl(*logits))

    lengths = 1, 3, 5, 64
    sums = [whole, *(functools.partial(chunked, chunk_length=length) for length in lengths)]
    program = jax.jit(lambda *arrays: [jax.value_and_grad(each, argnums=(0, 1))(*arrays) for each in sums])
    with jax.enable_x64(True):
        expected, *found = jax.device_get(program(TABLE, HIDDEN, TARGET, WEIGHTS))
    for length, (value, gradients) in zip(lengths, found, strict=True):
        np.testing.assert_allclose(value, expected[0], rtol=1e-10, err_msg=str(length))
        for leaf, expected_leaf in zip(gradients, expected[1], strict=True):
            np.testing.assert_allclose(leaf, expected_leaf, rtol=1e-9, atol=1e-12, err_msg=str(length))


def test_sum_in_chunks_ignores_padding_of_any_value():
    """0 * NaN is NaN, so padding must be zeroed before the loss, or its gradient would be NaN."""
    value_and_grad = jax.jit(jax.value_and_grad(lambda t, h, g, w: chunked(t, h, g, w, 4), argnums=(0, 1)))
    clean = [np.float32(array) for array in (TABLE, HIDDEN, TARGET, WEIGHTS)]
    spoiled = [np.where(clean[3][:, :, None] > 0, array, np.float32(np.nan)) for array in clean[1:3]]
    jax.tree.map(np.testing.assert_array_equal, value_and_grad(clean[0], *spoiled, clean[3]), value_and_grad(*clean))


def test_sum_in_chunks_computes_the_logits_of_one_chunk_at_a_time():
    """Forward and backward, no array reaches B * T * V elements; without chunks one does."""
    length, vocab = 64, 101
    shapes = (vocab, D), (B, length, D), (B, length, D), (B, length)
    arrays = [np.ones(shape, np.float32) for shape in shapes]
    for chunk_length, is_small in ((8, True), (length, False)):
        gradient = jax.grad(lambda *a, c=chunk_length: chunked(*a, c), argnums=(0, 1))
        largest = largest_intermediates(trace(gradient, *arrays))[0]
        assert largest.elements <= B * chunk_length * vocab
        assert (largest.elements < B * length * vocab) == is_small


def test_sum_in_chunks_of_a_sharded_batch_needs_no_gather():
    """Chunks divide the token axis: each device scans its own rows, and devices communicate sums only."""
    mesh = tiny.mesh(8)
    rows = jax.NamedSharding(mesh, jax.P("data"))
    arrays = [jax.device_put(np.ones(shape, np.float32), rows) for shape in ((8, 12, D), (8, 12, D), (8, 12))]
    table = jax.device_put(TABLE.astype(np.float32), jax.NamedSharding(mesh, jax.P()))
    gradient = jax.jit(jax.grad(lambda *a: chunked(*a, 4), argnums=(0, 1)))
    program = gradient.lower(table, *arrays).compile().as_text()
    assert "all-reduce" in program
    assert not any(name in program for name in ("all-gather", "all-to-all", "collective-permute"))


def test_sum_in_chunks_refuses_a_length_of_0():
    with pytest.raises(ValueError, match="at least 1"):
        sum_in_chunks(lambda x: x[..., 0], jnp.ones((1, 2, 3)), weights=jnp.ones((1, 2)), chunk_length=0)
