"""Losses on attention against loops in float64, their gradients, and ignored inputs."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.distillation.relations import attention_divergence, attention_score_error, relation_divergence
from flax_lite.layers.attention import attention_scores, attention_visibility
from tests.flax_lite import tiny

B, T, N, H = 3, 6, 4, 3
TEACHER_HEADS, TEACHER_WIDTH = 2, 12
RNG = np.random.default_rng(0)
STUDENT_SCORES, TEACHER_SCORES = RNG.normal(size=(2, B, N, T, T)) * 2
STUDENT = RNG.normal(size=(B, T, N, H))
TEACHER = RNG.normal(size=(B, T, TEACHER_HEADS, TEACHER_WIDTH))

# The text of each token, 0 for padding: one text per row; the same with padding at the end, at the start and in
# between; several texts per row.
TEXTS = {
    "none": np.ones((B, T), int),
    "padding": np.asarray([[1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1], [0, 0, 1, 1, 1, 1]]),
    "packed": np.asarray([[1, 1, 2, 2, 2, 3], [1, 1, 1, 2, 0, 0], [1, 1, 2, 2, 3, 0]]),
}
LOSSES = {
    "score_error": attention_score_error,
    "attention": attention_divergence,
    "relation": functools.partial(relation_divergence, num_heads=2),
}
STUDENTS = {"score_error": STUDENT_SCORES, "attention": STUDENT_SCORES, "relation": STUDENT}
TEACHERS = {"score_error": TEACHER_SCORES, "attention": TEACHER_SCORES, "relation": TEACHER}
every_kind = pytest.mark.parametrize("kind", TEXTS)


def visibility(kind):
    texts = jnp.asarray(TEXTS[kind])
    if kind == "none":
        return None
    return attention_visibility(texts != 0, texts if kind == "packed" else None)


def visible_keys(row, query, kind):
    """Returns the list of keys that a query sees; empty for padding."""
    texts = TEXTS[kind][row]
    return [key for key in range(T) if texts[query] and texts[key] == texts[query]]


def by_query(of_query, heads, kind):
    """Averages a function of (row, head, query) and its keys over heads, [B, T]; 0 for queries without keys."""
    result = np.zeros((B, T))
    for row, query, head in np.ndindex(B, T, heads):
        keys = visible_keys(row, query, kind)
        if keys:
            result[row, query] += of_query((row, head, query), keys) / heads
    return result


def softmax(scores):
    weights = np.exp(scores - np.max(scores))
    return weights / weights.sum()


def score_error(student, teacher, kind):
    error = lambda index, keys: sum((student[index][key] - teacher[index][key]) ** 2 for key in keys) / len(keys)  # noqa: E731
    return by_query(error, student.shape[1], kind)


def divergence(student, teacher, kind):
    """sum p_t ln(p_t / p_s) over the visible keys only."""

    def of_query(index, keys):
        p_student, p_teacher = softmax(student[index][keys]), softmax(teacher[index][keys])
        return sum(t * np.log(t / s) for t, s in zip(p_teacher, p_student, strict=True))

    return by_query(of_query, student.shape[1], kind)


def relation_scores(states, heads):
    """x_t . x_s / sqrt(width) for every pair of tokens, [B, heads, T, T]."""
    joined = np.concatenate([states[:, :, head] for head in range(states.shape[2])], axis=-1)
    scores = [part @ np.swapaxes(part, 1, 2) / np.sqrt(part.shape[-1]) for part in np.split(joined, heads, axis=-1)]
    return np.stack(scores, axis=1)


class Measured(NamedTuple):
    """The loss of each token, and the gradients of its sum over real tokens with respect to student and teacher."""

    losses: np.ndarray
    by_student: np.ndarray
    by_teacher: np.ndarray


def _measured(students, teachers, visible, weights):
    def total(loss, student, teacher):
        losses = loss(student, teacher, visible=visible)
        return jnp.sum(jnp.where(weights, losses, 0)), losses

    found = {}
    for name, loss in LOSSES.items():
        gradient = jax.grad(functools.partial(total, loss), argnums=(0, 1), has_aux=True)
        gradients, losses = gradient(students[name], teachers[name])
        found[name] = Measured(losses, *gradients)
    return found


_program = jax.jit(_measured)


def measure(students, teachers, kind, dtype=np.float64, *, visible=None, weights=None):
    """Returns `Measured` for each loss, computed in `dtype`; one program per kind of visibility and dtype."""
    arrays = [{name: np.asarray(array, dtype) for name, array in each.items()} for each in (students, teachers)]
    weights = TEXTS[kind] != 0 if weights is None else weights
    with jax.enable_x64(dtype == np.float64):
        found = _program(*arrays, visibility(kind) if visible is None else jnp.asarray(visible), weights)
        return jax.device_get(found)


@functools.cache
def double(kind):
    """Losses of STUDENTS and TEACHERS in float64."""
    return measure(STUDENTS, TEACHERS, kind)


@functools.cache
def single(kind):
    """Losses of STUDENTS and TEACHERS in float32."""
    return measure(STUDENTS, TEACHERS, kind, np.float32)


def definitions(kind):
    relations = relation_scores(STUDENT, 2), relation_scores(TEACHER, 2)
    return {
        "score_error": score_error(STUDENT_SCORES, TEACHER_SCORES, kind),
        "attention": divergence(STUDENT_SCORES, TEACHER_SCORES, kind),
        "relation": divergence(*relations, kind),
    }


@every_kind
def test_losses_equal_their_definitions(kind):
    for name, expected in definitions(kind).items():
        np.testing.assert_allclose(double(kind)[name].losses, expected, rtol=1e-10, atol=1e-12, err_msg=name)


def test_losses_equal_their_definitions_in_float32():
    """Divergences of texts of one token are 0, and in float32 the rounding of logarithms near 3."""
    for name, expected in definitions("packed").items():
        np.testing.assert_allclose(single("packed")[name].losses, expected, rtol=1e-5, atol=2e-6, err_msg=name)


def test_relation_divergence_resplits_heads():
    """Student and teacher differ in width and heads, and the relation heads align with those of neither."""
    heads = (1, 3, 12)
    program = jax.jit(lambda *states: [relation_divergence(*states, visibility("packed"), number) for number in heads])
    with jax.enable_x64(True):
        found = jax.device_get(program(STUDENT, TEACHER))
    for number, losses in zip(heads, found, strict=True):
        expected = divergence(relation_scores(STUDENT, number), relation_scores(TEACHER, number), "packed")
        np.testing.assert_allclose(losses, expected, rtol=1e-10, atol=1e-12)


def test_relation_divergence_of_the_model_s_heads_is_minilm_s_value_relation():
    """softmax(V V^T / sqrt(H)) head by head: attention with the values as queries and keys."""
    states = [RNG.normal(size=(B, T, N, width)).astype(np.float32) for width in (3, 5)]
    visible = visibility("packed")

    @jax.jit
    def both(student, teacher):
        scores = attention_scores(student, student), attention_scores(teacher, teacher)
        return relation_divergence(student, teacher, visible, N), attention_divergence(*scores, visible)

    np.testing.assert_allclose(*both(*states), rtol=1e-5, atol=2e-6)


def score_error_gradient(kind):
    """2 (s - t) / (N * number of visible keys)."""
    expected = np.zeros_like(STUDENT_SCORES)
    for row, query in np.ndindex(B, T):
        if keys := visible_keys(row, query, kind):
            index = row, slice(None), query, keys
            expected[index] = 2 * (STUDENT_SCORES[index] - TEACHER_SCORES[index]) / (N * len(keys))
    return expected


def divergence_gradient(student, teacher, kind):
    """(softmax(s) - softmax(t)) / heads with respect to the student's scores, over the visible keys only."""
    expected = np.zeros_like(student)
    for row, head, query in np.ndindex(student.shape[:3]):
        if keys := visible_keys(row, query, kind):
            p_student, p_teacher = (softmax(scores[row, head, query, keys]) for scores in (student, teacher))
            expected[row, head, query, keys] = (p_student - p_teacher) / student.shape[1]
    return expected


def relation_gradient(kind):
    """With G the gradient of X X^T / sqrt(d), that of X is (G + G^T) X / sqrt(d), as X is both query and key."""
    by_scores = divergence_gradient(relation_scores(STUDENT, 2), relation_scores(TEACHER, 2), kind)
    heads = np.moveaxis(STUDENT.reshape(B, T, 2, 6), 2, 1)
    return np.moveaxis((by_scores + np.swapaxes(by_scores, 2, 3)) @ heads / np.sqrt(6), 1, 2).reshape(STUDENT.shape)


@every_kind
def test_losses_gradients_have_their_scale(kind):
    """The teacher has no gradient."""
    expected = {
        "score_error": score_error_gradient(kind),
        "attention": divergence_gradient(STUDENT_SCORES, TEACHER_SCORES, kind),
        "relation": relation_gradient(kind),
    }
    for name, measured in double(kind).items():
        np.testing.assert_allclose(measured.by_student, expected[name], rtol=1e-10, atol=1e-12, err_msg=name)
        assert not measured.by_teacher.any()


def test_losses_are_minimal_for_equal_student_and_teacher():
    """There they are 0 with a gradient of 0, and above 0 nearby.

    Nearby means a difference of 1e-3, so losses may be as small as about 1e-6. A token that only sees itself has a
    single distribution.
    """
    for measured in measure(STUDENTS, STUDENTS, "packed").values():
        np.testing.assert_allclose(measured.losses, 0, atol=1e-10)
        np.testing.assert_allclose(measured.by_student, 0, atol=1e-10)
    sees_others = np.asarray([[len(visible_keys(row, query, "packed")) > 1 for query in range(T)] for row in range(B)])
    for seed in range(3):
        random = np.random.default_rng(seed)
        near = {name: array + 1e-3 * random.normal(size=array.shape) for name, array in STUDENTS.items()}
        for measured in measure(near, STUDENTS, "packed").values():
            assert (measured.losses[sees_others] > 1e-10).all()


def spoil_padding(arrays, kind, filler):
    """Replaces padding by `filler`: queries and keys of scores, otherwise tokens."""
    is_padding = TEXTS[kind] == 0
    pairs = (is_padding[:, :, None] | is_padding[:, None, :])[:, None]
    hidden = {"score_error": pairs, "attention": pairs, "relation": is_padding[:, :, None, None]}
    return {name: np.where(hidden[name], filler, array) for name, array in arrays.items()}


@pytest.mark.parametrize("kind", ["padding", "packed"])
@pytest.mark.parametrize("filler", [1e4, np.nan, np.inf])
def test_losses_ignore_padding_of_any_value(kind, filler):
    """0 * NaN is NaN, so padding must be zeroed before each product, or gradients would be NaN. Its own loss is 0."""
    found = measure(spoil_padding(STUDENTS, kind, filler), spoil_padding(TEACHERS, kind, filler), kind, np.float32)
    jax.tree.map(np.testing.assert_array_equal, found, single(kind))
    for measured in found.values():
        assert not measured.losses[TEXTS[kind] == 0].any()


def test_losses_of_a_query_without_visible_keys_are_zero():
    """With a gradient of 0, whether or not other queries see it as a key."""
    visible = np.ones((B, 1, T, T), bool)
    visible[0, 0, 2] = False
    visible[1] = False
    blind = np.zeros((B, T), bool)
    blind[0, 2] = blind[1] = True
    for measured in measure(STUDENTS, TEACHERS, "packed", np.float32, visible=visible, weights=blind).values():
        assert not measured.losses[blind].any()
        assert (measured.losses[0, [0, 1, 3, 4, 5]] > 0).all()
        assert not measured.by_student.any()


def test_losses_of_bfloat16_are_float32():
    """Including products: the loss equals that of the rounded values in float32."""
    visible = visibility("packed")
    losses = jax.jit(lambda s, t: {name: loss(s[name], t[name], visible=visible) for name, loss in LOSSES.items()})
    rounded = jax.tree.map(lambda array: array.astype(jnp.bfloat16), (STUDENTS, TEACHERS))
    found = losses(*rounded)
    assert {array.dtype for array in found.values()} == {jnp.dtype(jnp.float32)}
    expected = losses(*jax.tree.map(lambda array: array.astype(np.float32), rounded))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_losses_of_a_sharded_batch_need_no_communication():
    """Each device computes the losses and gradients of its own rows."""
    rows = jax.NamedSharding(tiny.mesh(8), jax.P("data"))
    arrays = STUDENTS, TEACHERS, np.asarray(visibility("packed")), TEXTS["packed"] != 0
    arrays = jax.tree.map(lambda array: np.resize(array, (8, *array.shape[1:])), arrays)
    narrow = jax.tree.map(lambda array: array.astype(np.float32) if array.dtype == np.float64 else array, arrays)
    program = _program.lower(*jax.device_put(narrow, rows)).compile().as_text()
    assert not any(word in program for word in ("all-gather", "all-to-all", "collective-permute", "all-reduce"))


@pytest.mark.parametrize("loss", [attention_score_error, attention_divergence])
def test_score_losses_refuse_unequal_heads(loss):
    """Including a single head, which would otherwise be broadcast."""
    for heads in (1, 3):
        with pytest.raises(ValueError, match=f"student has {N} heads, the teacher {heads}.*relation_divergence"):
            loss(jnp.asarray(np.ones((1, N, T, T))), jnp.asarray(np.ones((1, heads, T, T))), None)


@pytest.mark.parametrize(("num_heads", "named"), [(8, "student's width of 12"), (0, "student"), (-1, "student")])
def test_relation_divergence_refuses_heads_that_do_not_divide(num_heads, named):
    student, teacher = jnp.asarray(STUDENT, jnp.float32), jnp.asarray(TEACHER, jnp.float32)
    with pytest.raises(ValueError, match=f"{named}.*num_heads={num_heads} "):
        relation_divergence(student, teacher, None, num_heads)
    with pytest.raises(ValueError, match=r"teacher's width of 10 .*num_heads=4 "):
        relation_divergence(student, jnp.asarray(TEACHER[..., :5], jnp.float32), None, 4)
