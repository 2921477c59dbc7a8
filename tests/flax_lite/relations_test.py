"""Losses from attention against loops in float64, what they ignore, and their gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.attention import attention_scores, attention_visibility
from flax_lite.relations import attention_divergence, attention_score_error, relation_divergence
from tests.flax_lite import tiny
from tests.flax_lite.precision import double, single

B, T, N, H = 3, 6, 4, 3
TEACHER_HEADS, TEACHER_WIDTH = 2, 12
RNG = np.random.default_rng(0)
STUDENT_SCORES, TEACHER_SCORES = RNG.normal(size=(2, B, N, T, T)) * 2
STUDENT = RNG.normal(size=(B, T, N, H))
TEACHER = RNG.normal(size=(B, T, TEACHER_HEADS, TEACHER_WIDTH))

# The text of each token, 0 for padding: one text in each row, such rows with padding at the end, at the start and in
# between, and several texts in a row.
TEXTS = {
    "none": np.ones((B, T), int),
    "padding": np.asarray([[1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1], [0, 0, 1, 1, 1, 1]]),
    "packed": np.asarray([[1, 1, 2, 2, 2, 3], [1, 1, 1, 2, 0, 0], [1, 1, 2, 2, 3, 0]]),
}
LOSSES = {
    "score_error": (attention_score_error, STUDENT_SCORES, TEACHER_SCORES),
    "attention": (attention_divergence, STUDENT_SCORES, TEACHER_SCORES),
    "relation": (functools.partial(relation_divergence, num_heads=2), STUDENT, TEACHER),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
every_kind = pytest.mark.parametrize("kind", TEXTS)


def visibility(kind):
    texts = jnp.asarray(TEXTS[kind])
    if kind == "none":
        return None
    return attention_visibility(texts != 0, texts if kind == "packed" else None)


def seen_by(row, query, kind):
    """The keys that a query sees, as a list; none for padding."""
    texts = TEXTS[kind][row]
    return [key for key in range(T) if texts[query] and texts[key] == texts[query]]


def by_query(of_query, heads, kind):
    """[B, T] of a function of the row, head, query and its keys, averaged over heads; 0 where there are no keys."""
    result = np.zeros((B, T))
    for row, query, head in np.ndindex(B, T, heads):
        keys = seen_by(row, query, kind)
        if keys:
            result[row, query] += of_query((row, head, query), keys) / heads
    return result


def softmax(scores):
    weights = np.exp(scores - np.max(scores))
    return weights / weights.sum()


def score_error(student, teacher, kind):
    error = lambda place, keys: sum((student[place][key] - teacher[place][key]) ** 2 for key in keys) / len(keys)  # noqa: E731
    return by_query(error, student.shape[1], kind)


def divergence(student, teacher, kind):
    """sum p_t ln(p_t / p_s) over the keys alone: hidden ones are not there."""

    def of_query(place, keys):
        ours, theirs = softmax(student[place][keys]), softmax(teacher[place][keys])
        return sum(p * np.log(p / q) for p, q in zip(theirs, ours, strict=True))

    return by_query(of_query, student.shape[1], kind)


def relation_scores(states, heads):
    """x_t . x_s / sqrt(width) for every pair of tokens, [B, heads, T, T]."""
    joined = np.concatenate([states[:, :, head] for head in range(states.shape[2])], axis=-1)
    scores = [part @ np.swapaxes(part, 1, 2) / np.sqrt(part.shape[-1]) for part in np.split(joined, heads, axis=-1)]
    return np.stack(scores, axis=1)


def total(loss, kind):
    """The sum over real tokens, as a step has it."""
    weights = jnp.asarray(TEXTS[kind] != 0)
    visible = visibility(kind)
    return lambda student, teacher: jnp.sum(jnp.where(weights, loss(student, teacher, visible=visible), 0))


def assert_equals(function, student, teacher, expected):
    np.testing.assert_allclose(double(function, student, teacher), expected, rtol=1e-10, atol=1e-12)
    # Divergences of texts of one token are 0, and in float32 what logarithms near 3 leave.
    np.testing.assert_allclose(single(function, student, teacher), expected, rtol=1e-5, atol=2e-6)


@every_kind
def test_attention_score_error_equals_its_definition(kind):
    ours = functools.partial(attention_score_error, visible=visibility(kind))
    assert_equals(ours, STUDENT_SCORES, TEACHER_SCORES, score_error(STUDENT_SCORES, TEACHER_SCORES, kind))


@every_kind
def test_attention_divergence_equals_its_definition(kind):
    ours = functools.partial(attention_divergence, visible=visibility(kind))
    assert_equals(ours, STUDENT_SCORES, TEACHER_SCORES, divergence(STUDENT_SCORES, TEACHER_SCORES, kind))


@every_kind
@pytest.mark.parametrize("num_heads", [1, 3, 12])
def test_relation_divergence_equals_its_definition(kind, num_heads):
    """Student and teacher differ in width and heads, and the relation heads cut across those of both."""
    ours = functools.partial(relation_divergence, visible=visibility(kind), num_heads=num_heads)
    expected = divergence(relation_scores(STUDENT, num_heads), relation_scores(TEACHER, num_heads), kind)
    assert_equals(ours, STUDENT, TEACHER, expected)


@every_kind
def test_relation_divergence_of_own_heads_is_the_first_value_relation(kind):
    """softmax(V V^T / sqrt(H)) head by head: attention with the values as queries and keys."""
    student, teacher = (jnp.asarray(RNG.normal(size=(B, T, N, width)), jnp.float32) for width in (3, 5))
    visible = visibility(kind)
    expected = attention_divergence(attention_scores(student, student), attention_scores(teacher, teacher), visible)
    ours = relation_divergence(student, teacher, visible, N)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=2e-6)


def test_relation_divergence_does_not_see_rotations_of_a_head():
    """Only products within a relation head count: so a student of another width can follow at all."""
    rotation = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    rotated = (STUDENT.reshape(B, T, 2, 6) @ rotation).reshape(STUDENT.shape)
    ours = functools.partial(relation_divergence, visible=visibility("packed"), num_heads=2)
    np.testing.assert_allclose(double(ours, rotated, TEACHER), double(ours, STUDENT, TEACHER), rtol=1e-10, atol=1e-12)


@every_kind
def test_attention_score_error_gradient_has_its_scale(kind):
    """2 (s - t) / (N * keys seen)."""
    expected = np.zeros_like(STUDENT_SCORES)
    for row, query in np.ndindex(B, T):
        keys = seen_by(row, query, kind)
        for head, key in np.ndindex(N, T):
            if key in keys:
                place = row, head, query, key
                expected[place] = 2 * (STUDENT_SCORES[place] - TEACHER_SCORES[place]) / (N * len(keys))
    gradient = double(jax.grad(total(attention_score_error, kind)), STUDENT_SCORES, TEACHER_SCORES)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)


def divergence_gradient(student, teacher, kind):
    """(softmax(s) - softmax(t)) / heads by the student's scores, over the keys alone."""
    expected = np.zeros_like(student)
    for row, head, query in np.ndindex(student.shape[:3]):
        if keys := seen_by(row, query, kind):
            ours, theirs = (softmax(scores[row, head, query, keys]) for scores in (student, teacher))
            expected[row, head, query, keys] = (ours - theirs) / student.shape[1]
    return expected


@every_kind
def test_attention_divergence_gradient_has_its_scale(kind):
    gradient = double(jax.grad(total(attention_divergence, kind)), STUDENT_SCORES, TEACHER_SCORES)
    expected = divergence_gradient(STUDENT_SCORES, TEACHER_SCORES, kind)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)


@every_kind
def test_relation_divergence_gradient_has_its_scale(kind):
    """With G the gradient by X X^T / sqrt(d), that by X is (G + G^T) X / sqrt(d): X is both query and key."""
    by_scores = divergence_gradient(relation_scores(STUDENT, 2), relation_scores(TEACHER, 2), kind)
    heads = np.moveaxis(STUDENT.reshape(B, T, 2, 6), 2, 1)
    expected = np.moveaxis((by_scores + np.swapaxes(by_scores, 2, 3)) @ heads / np.sqrt(6), 1, 2).reshape(STUDENT.shape)
    gradient = double(jax.grad(total(LOSSES["relation"][0], kind)), STUDENT, TEACHER)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-12)


@every_loss
@every_kind
def test_losses_are_least_where_the_student_is_the_teacher(name, kind):
    """There they are 0 with a gradient of 0; anywhere near they are more. And the teacher learns nothing.

    What is near differs by 1e-3, so the least of them is near 1e-6 squared; a token that sees itself alone has one
    distribution only.
    """
    loss, student, teacher = LOSSES[name]
    np.testing.assert_allclose(double(total(loss, kind), student, student), 0, atol=1e-10)
    np.testing.assert_allclose(double(jax.grad(total(loss, kind)), student, student), 0, atol=1e-10)
    sees_others = np.asarray([[len(seen_by(row, query, kind)) > 1 for query in range(T)] for row in range(B)])
    for seed in range(3):
        near = student + 1e-3 * np.random.default_rng(seed).normal(size=student.shape)
        more = double(functools.partial(loss, visible=visibility(kind)), near, student)
        assert (more[sees_others] > 1e-10).all()
    assert not double(jax.grad(total(loss, kind), argnums=1), student, teacher).any()


def spoilt(array, kind, filler):
    """The array with `filler` in place of padding: as query and as key of scores, as token otherwise."""
    is_padding = TEXTS[kind] == 0
    if array.shape[1:] == (N, T, T):
        hidden = (is_padding[:, :, None] | is_padding[:, None, :])[:, None]
    else:
        hidden = is_padding[:, :, None, None]
    return np.where(hidden, filler, array)


@every_loss
@pytest.mark.parametrize("kind", ["padding", "packed"])
@pytest.mark.parametrize("filler", [1e4, np.nan, np.inf])
def test_losses_ignore_padding_whatever_it_holds(name, kind, filler):
    """0 * NaN is NaN: so padding is left out before each product, or gradients would be NaN. And its own loss is 0."""
    loss, student, teacher = LOSSES[name]
    ours = spoilt(student, kind, filler), spoilt(teacher, kind, filler)
    for function in (total(loss, kind), jax.grad(total(loss, kind))):
        np.testing.assert_array_equal(single(function, *ours), single(function, student, teacher))
    per_token = single(functools.partial(loss, visible=visibility(kind)), *ours)
    assert not per_token[TEXTS[kind] == 0].any()


@every_loss
def test_losses_of_a_packed_text_are_those_of_the_text_alone(name):
    """Row 0 holds texts of 2, 3 and 1 tokens; each is compared with a row that holds nothing else."""
    loss, student, teacher = LOSSES[name]

    def cut(array, tokens):
        return array[:1, tokens] if name == "relation" else array[:1, :, tokens, tokens]

    packed = double(functools.partial(loss, visible=visibility("packed")), student, teacher)
    for tokens in (slice(0, 2), slice(2, 5), slice(5, 6)):
        alone = double(functools.partial(loss, visible=None), cut(student, tokens), cut(teacher, tokens))
        np.testing.assert_allclose(packed[0, tokens], alone[0], rtol=1e-10, atol=1e-12)


@every_loss
def test_losses_of_a_query_that_sees_nothing_are_zero(name):
    """With a gradient of 0, whether other queries see it as a key or not."""
    loss, student, teacher = LOSSES[name]
    visible = np.ones((B, 1, T, T), bool)
    visible[0, 0, 2] = False
    visible[1] = False
    per_token = lambda s, t: loss(s, t, visible=jnp.asarray(visible))  # noqa: E731
    value = single(per_token, student, teacher)
    assert value[0, 2] == 0
    assert not value[1].any()
    assert (value[0, [0, 1, 3, 4, 5]] > 0).all()
    gradient = single(jax.grad(lambda s, t: per_token(s, t)[0, 2] + per_token(s, t)[1].sum()), student, teacher)
    assert not gradient.any()


@every_loss
def test_losses_of_bfloat16_are_float32(name):
    """Products included: the loss is that of the rounded numbers, as if they had been float32."""
    loss, *arrays = LOSSES[name]
    rounded = [jnp.asarray(array, jnp.bfloat16) for array in arrays]
    ours = loss(*rounded, visible=visibility("packed"))
    assert ours.dtype == jnp.float32
    np.testing.assert_array_equal(
        ours, loss(*(array.astype(jnp.float32) for array in rounded), visible=visibility("packed"))
    )


@every_loss
def test_losses_keep_a_sharded_batch_where_it_is(name):
    """Each device computes the losses and gradients of its own rows, and nothing crosses between devices."""
    loss, *arrays = LOSSES[name]
    rows = jax.NamedSharding(tiny.mesh(8), jax.P("data"))
    place = lambda array: jax.device_put(np.resize(array, (8, *array.shape[1:])), rows)  # noqa: E731
    per_token = lambda s, t, visible: loss(s, t, visible=visible)  # noqa: E731
    both = jax.jit(lambda *a: (per_token(*a), jax.grad(lambda *a: per_token(*a).sum())(*a)))
    student, teacher = (place(array.astype(np.float32)) for array in arrays)
    program = both.lower(student, teacher, place(np.asarray(visibility("packed")))).compile().as_text()
    assert not any(word in program for word in ("all-gather", "all-to-all", "collective-permute", "all-reduce"))


def test_losses_take_what_an_encoder_captures():
    """The last layers of two models of different width, in packed rows; which ids padding has does not matter."""
    configs = tiny.distilbert(), tiny.bert(hidden_size=24, num_hidden_layers=2)
    models = [tiny.make("Encoder", config) for config in configs]
    texts = jnp.asarray([[1, 1, 1, 2, 2, 0, 0], [1, 1, 1, 1, 1, 1, 0]])
    visible = attention_visibility(texts != 0, texts)

    def losses(ids):
        outputs = [
            tiny.call(
                model, ids, texts != 0, segment_ids=texts, capture=("scores", "values"), capture_layers=(-1,)
            ).captured
            for model in models
        ]
        scores, values = ([output[key][0] for output in outputs] for key in ("scores", "values"))
        return [
            attention_score_error(*scores, visible),
            attention_divergence(*scores, visible),
            relation_divergence(*values, visible, 6),
        ]

    ids = tiny.token_ids(configs[0])
    others = jnp.where(texts != 0, ids, 1 + ids % 7)
    for loss, other in zip(losses(ids), losses(others), strict=True):
        np.testing.assert_array_equal(loss > 0, texts != 0)
        np.testing.assert_allclose(other, loss, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", [attention_score_error, attention_divergence])
def test_score_losses_refuse_unequal_heads(loss):
    """One head, too, which NumPy's rules would compare with all."""
    for heads in (1, 3):
        with pytest.raises(ValueError, match=f"student has {N} heads, the teacher {heads}.*relation_divergence"):
            loss(jnp.ones((1, N, T, T)), jnp.ones((1, heads, T, T)), None)


@pytest.mark.parametrize(("num_heads", "named"), [(8, "student's width of 12"), (0, "student"), (-1, "student")])
def test_relation_divergence_refuses_heads_that_do_not_divide(num_heads, named):
    student, teacher = jnp.asarray(STUDENT, jnp.float32), jnp.asarray(TEACHER, jnp.float32)
    with pytest.raises(ValueError, match=f"{named}.*num_heads={num_heads} "):
        relation_divergence(student, teacher, None, num_heads)
    with pytest.raises(ValueError, match=r"teacher's width of 10 .*num_heads=4 "):
        relation_divergence(student, teacher[..., :5], None, 4)
