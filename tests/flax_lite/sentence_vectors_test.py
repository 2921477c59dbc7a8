"""Vectors of packed texts against loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.sentence_vectors import sentence_counts, sentence_vectors
from tests.flax_lite.precision import double, single

B, T, D, TEXTS = 3, 7, 5, 4
# Texts that follow each other, one that is not contiguous, numbers that no token has, and one (5) beyond TEXTS.
SEGMENTS = np.asarray([[1, 1, 2, 2, 2, 3, 4], [3, 1, 3, 1, 1, 0, 0], [2, 2, 5, 5, 0, -1, 0]])
HIDDEN = np.random.default_rng(0).normal(size=(B, T, D))


def of_texts(hidden, num_segments=TEXTS):
    return sentence_vectors(hidden, jnp.asarray(SEGMENTS, jnp.int32), num_segments)


def tokens_of(row, text):
    return [token for token in range(T) if SEGMENTS[row, token] == text]


def reference(hidden):
    """The mean over a list of tokens, or zeros."""
    vectors = np.zeros((B, TEXTS, D))
    for row, text in np.ndindex(B, TEXTS):
        if tokens := tokens_of(row, text + 1):
            vectors[row, text] = sum(hidden[row, token] for token in tokens) / len(tokens)
    return vectors


def test_sentence_vectors_equal_their_definition():
    np.testing.assert_allclose(double(of_texts, HIDDEN), reference(HIDDEN), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(single(of_texts, HIDDEN), reference(HIDDEN), rtol=1e-5, atol=1e-7)


def test_sentence_counts_are_numbers_of_tokens():
    counts = sentence_counts(jnp.asarray(SEGMENTS), TEXTS)
    np.testing.assert_array_equal(counts, [[2, 3, 1, 1], [3, 0, 2, 0], [0, 2, 0, 0]])
    assert not single(of_texts, HIDDEN)[counts == 0].any()


def test_sentence_vectors_of_an_attention_mask_are_masked_means():
    """One text in each row: its mask says which tokens are its."""
    mask = np.asarray([[1] * 7, [1] * 3 + [0] * 4, [0, 1, 1, 0, 0, 0, 0]])
    ours = double(lambda hidden: sentence_vectors(hidden, jnp.asarray(mask), 1), HIDDEN)
    expected = (HIDDEN * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    np.testing.assert_allclose(ours[:, 0], expected, rtol=1e-10)


def test_sentence_vectors_gradient_is_spread_over_tokens():
    """Each token of a text has the text's cotangent over its count; any other token has 0."""
    cotangent = np.random.default_rng(1).normal(size=(B, TEXTS, D))
    gradient = double(jax.grad(lambda hidden: jnp.sum(of_texts(hidden) * cotangent)), HIDDEN)
    expected = np.zeros_like(HIDDEN)
    for row, text in np.ndindex(B, TEXTS):
        for token in tokens_of(row, text + 1):
            expected[row, token] = cotangent[row, text] / len(tokens_of(row, text + 1))
    np.testing.assert_allclose(gradient, expected, rtol=1e-10)


@pytest.mark.parametrize("filler", [1e4, np.nan, np.inf])
def test_sentence_vectors_ignore_tokens_of_no_text_whatever_they_hold(filler):
    is_used = (SEGMENTS > 0) & (SEGMENTS <= TEXTS)
    spoilt = np.where(is_used[:, :, None], HIDDEN, filler)
    # Squares, so that the gradient depends on what is there.
    for function in (of_texts, jax.grad(lambda hidden: jnp.sum(of_texts(hidden) ** 2))):
        np.testing.assert_array_equal(single(function, spoilt), single(function, HIDDEN))


def test_sentence_vectors_lose_no_precision():
    """bfloat16 comes out as float32; and the product asks for float32 where that is not an accelerator's default."""
    hidden = jnp.asarray(HIDDEN, jnp.bfloat16)
    assert of_texts(hidden).dtype == jnp.float32
    np.testing.assert_allclose(of_texts(hidden), reference(np.asarray(hidden, np.float64)), rtol=1e-5, atol=1e-7)
    (product,) = (e for e in jax.make_jaxpr(of_texts)(hidden).eqns if e.primitive.name == "dot_general")
    assert set(product.params["precision"]) == {jax.lax.Precision.HIGHEST}


@pytest.mark.parametrize("number", [0, -1])
def test_sentence_vectors_refuse_no_texts(number):
    for function in (
        lambda: of_texts(jnp.ones((B, T, D)), number),
        lambda: sentence_counts(jnp.ones((1, 2), int), number),
    ):
        with pytest.raises(ValueError, match=f"num_segments of at least 1, got {number}"):
            function()
