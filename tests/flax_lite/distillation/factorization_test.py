"""Factorized embeddings of a teacher: exactness, loss, and determinism."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flax_lite.architecture.weights import sinusoidal_positions
from flax_lite.distillation.initialization import (
    factorized,
    init_from_teacher,
    needs_factorization,
    principal_axes,
    second_moment,
)
from flax_lite.layers.transformer import ACTIVATION_FUNCTIONS
from flax_lite.models.params import get_params
from tests.flax_lite import tiny

TABLES = ("word", "position", "token_type")
WIDTH = 12  # D of the tiny models


def flat(model):
    leaves = jax.tree_util.tree_leaves_with_path(get_params(model))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def student_of(teacher, word_counts=None, **changes):
    """Returns an ALBERT initialized from the teacher."""
    student = tiny.make("MaskedLM", tiny.albert(**changes), seed=5)
    nnx.update(student, init_from_teacher(get_params(student), get_params(teacher), word_counts=word_counts))
    return student


@jax.jit
def embed(model):
    """Returns the embeddings of every word, each with another position and type."""
    words = jnp.arange(model.config.vocab_size)[:, None]
    return model.encoder.embeddings(words, words % 2, words % model.config.max_position_embeddings)


def with_rank(teacher, rank):
    """Replaces the teacher's tables by ones whose centered rows span `rank` dimensions, with different means."""
    random = np.random.default_rng(3)
    basis = random.normal(size=(rank, WIDTH))
    basis -= basis.mean(axis=1, keepdims=True)
    for name in TABLES:
        table = getattr(teacher.encoder.embeddings, name).embedding
        rows = random.normal(size=(table.shape[0], rank)) @ basis + random.normal(size=(table.shape[0], 1))
        table[...] = jnp.asarray(rows, jnp.float32)
    return teacher


def all_sums(model):
    """Returns the centered sums of one row of each table, for all combinations [V * positions * types, width]."""
    word, position, token_type = (
        np.asarray(getattr(model.encoder.embeddings, name).embedding[...], np.float64) for name in TABLES
    )
    sums = word[:, None, None] + position[None, :, None] + token_type[None, None]
    sums = sums.reshape(-1, word.shape[1])
    return sums - sums.mean(axis=1, keepdims=True)


@pytest.mark.parametrize(("rank", "width", "epsilon"), [(7, 8, 0.05), (5, 8, 1e-12), (1, 2, 0.05), (11, 12, 1e-12)])
def test_factorized_is_exact_up_to_rank_e_minus_one(rank, width, epsilon):
    """LayerNorm depends on the centered part of a row only. If the centered rows of all tables lie in a space of E - 1
    dimensions, R's columns span it and the ones vector, so x R preserves lengths and angles and R^T inverts it. With
    the factor sqrt(E / D) the variance over E equals that over D, so that a large epsilon has the same effect too."""
    teacher = with_rank(tiny.make("MaskedLM", tiny.bert(layer_norm_eps=epsilon)), rank)
    student = student_of(teacher, embedding_size=width, layer_norm_eps=epsilon)
    np.testing.assert_allclose(embed(student), embed(teacher), atol=1e-5)


def test_factorized_at_full_width_is_the_teacher_with_its_head():
    """For E = D, R is the identity, so that the head's activation is unchanged; the three layers become three groups of
    an ALBERT, so that both models compute the same."""
    teacher = tiny.make("MaskedLM", tiny.bert())
    student = student_of(teacher, embedding_size=WIDTH, num_hidden_groups=3, hidden_act="gelu")
    ids = tiny.token_ids(teacher.config)
    np.testing.assert_allclose(tiny.call(student, ids).logits, tiny.call(teacher, ids).logits, atol=2e-5)


def test_factorized_loses_the_smallest_singular_values():
    """Eckart and Young: the squared error of any linear map of E - 1 dimensions to the centered sums of rows is at
    least the sum of the squared discarded singular values. The best readout of the student's centered sums reaches
    that, so they span the right space; the student's Dense, without gamma and the scale, is that readout."""
    width = 8
    teacher = tiny.make("MaskedLM", tiny.bert())
    student = student_of(teacher, embedding_size=width)
    exact, kept = all_sums(teacher), all_sums(student)
    discarded = np.sum(np.linalg.svd(exact, compute_uv=False)[width - 1 :] ** 2)
    readout = np.linalg.lstsq(kept, exact, rcond=1e-6)[0]
    assert discarded > 0.01 * np.sum(exact**2)
    np.testing.assert_allclose(np.sum((kept @ readout - exact) ** 2), discarded, rtol=1e-5)
    dense = np.asarray(student.encoder.embeddings.projection.kernel[...], np.float64)
    projected = kept @ dense / np.asarray(teacher.encoder.embeddings.layer_norm.scale[...])
    np.testing.assert_allclose(np.sum((projected - exact) ** 2), discarded, rtol=1e-5)


def test_factorized_weighs_words_by_their_counts():
    """Counts equal repetitions: a table with each row repeated by its count has the same second moment."""
    random = np.random.default_rng(0)
    tables = {f"encoder/embeddings/{name}/embedding": random.normal(size=(5, WIDTH)) for name in TABLES}
    word = "encoder/embeddings/word/embedding"
    counts = np.array([1, 4, 2, 1, 3])
    repeated = {**tables, word: np.repeat(tables[word], counts, axis=0)}
    np.testing.assert_allclose(second_moment(tables, counts), second_moment(repeated, np.ones(11)), rtol=1e-12)
    sums = repeated[word][:, None, None] + list(tables.values())[1][:, None] + list(tables.values())[2]
    sums = sums.reshape(-1, WIDTH)
    np.testing.assert_allclose(second_moment(tables, counts), sums.T @ sums / len(sums), rtol=1e-12)


def test_factorized_with_counts_is_closer_on_frequent_words():
    """By Eckart and Young for the weighted sum of squares, the error of six words with 1000 occurrences each decreases;
    a count of zero has the same effect as one."""
    teacher = tiny.make("MaskedLM", tiny.bert())
    counts = np.zeros(41, np.int64)
    counts[:6] = 1000
    plain, weighted, same = (student_of(teacher, given) for given in (None, counts, np.maximum(counts, 1)))
    errors = [np.abs(np.subtract(embed(student), embed(teacher)))[:6].mean() for student in (plain, weighted)]
    assert errors[1] < 0.7 * errors[0]
    np.testing.assert_array_equal(embed(weighted), embed(same))


@pytest.mark.parametrize("width", [2, 8, 11, 12])
def test_principal_axes_are_orthonormal_and_map_ones_to_ones(width):
    rows = np.random.default_rng(0).normal(size=(30, WIDTH))
    axes = principal_axes(rows.T @ rows, width)
    np.testing.assert_allclose(axes.T @ axes, np.eye(width), atol=1e-13)
    np.testing.assert_allclose(np.ones(WIDTH) @ axes / WIDTH**0.5, np.ones(width) / width**0.5, atol=1e-13)


def test_principal_axes_do_not_depend_on_the_sign_of_the_eigenvectors(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(30, WIDTH))
    expected = principal_axes(rows.T @ rows, 8)
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: (eigh(matrix)[0], -eigh(matrix)[1]))
    np.testing.assert_array_equal(principal_axes(rows.T @ rows, 8), expected)


def test_factorized_head_equals_the_teacher_s_if_its_activation_is_linear():
    """With relu and a large bias the activation is the identity, and a head's logits are linear in LN_D of the
    transform. If that and the tables lie in R's span, LN_E of the rotated transform is its rotation, and scale and bias
    compensate for sqrt(E / D) twice: the logits equal the teacher's, including the vocabulary bias."""
    teacher = with_rank(tiny.make("MaskedLM", tiny.bert(hidden_act="relu")), 7)
    axes = np.linalg.svd(all_sums(teacher), full_matrices=False)[2][:7]
    span = axes.T @ axes
    head = teacher.masked_lm_head
    head.dense.kernel[...] = jnp.asarray(np.asarray(head.dense.kernel[...]) @ span, jnp.float32)
    head.dense.bias[...] = jnp.full(WIDTH, 10.0)
    head.layer_norm.scale[...] = jnp.full(WIDTH, 1.3)
    head.layer_norm.bias[...] = jnp.asarray(np.asarray(head.layer_norm.bias[...]) @ span + 0.2, jnp.float32)
    student = student_of(teacher, hidden_act="relu")
    hidden = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, WIDTH)), jnp.float32)
    logits_of = jax.jit(lambda model: model.masked_lm_head(hidden, model.encoder.embeddings.word.embedding[...]))
    np.testing.assert_allclose(logits_of(student), logits_of(teacher), atol=5e-4)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_factorized_head_starts_in_the_linear_range_of_its_activation(activation):
    """A rotation before an activation equals one after it only if the activation is the identity: the offset moves
    every unit into that range, and LayerNorm removes the offset, which is common to all units."""
    student = student_of(tiny.make("MaskedLM", tiny.bert(hidden_act=activation)), hidden_act=activation)
    dense = student.masked_lm_head.dense
    hidden = np.random.default_rng(0).normal(size=(100, WIDTH)).astype(np.float32)
    before = hidden @ np.asarray(dense.kernel[...]) + np.asarray(dense.bias[...])
    after = jax.jit(ACTIVATION_FUNCTIONS[activation])(before)
    assert before.std() > 0.3
    np.testing.assert_allclose(after, before, atol=0.01)


def test_factorized_untied_decoder_is_transformed_like_the_table():
    teacher = tiny.make("MaskedLM", tiny.bert(tie_word_embeddings=False))
    teacher.masked_lm_head.decoder.kernel[...] = teacher.encoder.embeddings.word.embedding[...].T
    student = student_of(teacher, tie_word_embeddings=False)
    table = student.encoder.embeddings.word.embedding[...]
    np.testing.assert_allclose(student.masked_lm_head.decoder.kernel[...], table.T, atol=1e-7)


def test_factorized_without_token_types_and_position_table():
    """A DistilBERT has no token types, and sinusoidal positions are not parameters."""
    teacher = tiny.make("MaskedLM", tiny.distilbert(sinusoidal_positions=True))
    student = student_of(teacher, embedding_size=WIDTH)
    tables = student.encoder.embeddings
    np.testing.assert_array_equal(tables.token_type.embedding[...], 0)
    np.testing.assert_array_equal(tables.position.embedding[...], sinusoidal_positions(16, WIDTH))
    np.testing.assert_allclose(embed(student), embed(teacher), atol=1e-5)


def test_factorized_does_not_depend_on_the_student_s_initial_values():
    teacher, config = tiny.make("MaskedLM", tiny.bert()), tiny.albert()
    students = [flat(tiny.make("MaskedLM", config, seed=seed)) for seed in (0, 1)]
    one, two = (factorized(student, flat(teacher)) for student in students)
    names = {name for name in students[0] if name.startswith(("encoder/embeddings/", "masked_lm_head/"))}
    assert one.keys() | {"masked_lm_head/bias"} == names
    for name, leaf in one.items():
        assert (leaf.dtype, leaf.shape) == (jnp.float32, students[0][name].shape)
        np.testing.assert_array_equal(leaf, two[name])


def test_needs_factorization_between_families():
    models = {name: flat(tiny.make("MaskedLM", config())) for name, config in tiny.FAMILIES.items()}
    found = {(one, two) for one in models for two in models if needs_factorization(models[one], models[two])}
    assert found == {("albert", "bert"), ("albert", "distilbert")}


@pytest.mark.parametrize("counts", [np.ones(40), np.full(41, -1), np.full(41, np.nan)])
def test_factorized_refuses_invalid_counts(counts):
    with pytest.raises(ValueError, match="expected 41 word_counts"):
        student_of(tiny.make("MaskedLM", tiny.bert()), counts)
