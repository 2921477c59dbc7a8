"""Mean pooling of packed texts, against loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.layers.sentence_vectors import sentence_counts, sentence_vectors

B, T, D, TEXTS = 3, 7, 5, 4
# Consecutive texts, a text that is not contiguous, texts without tokens, and a number (5) above TEXTS.
SEGMENTS = np.asarray([[1, 1, 2, 2, 2, 3, 4], [3, 1, 3, 1, 1, 0, 0], [2, 2, 5, 5, 0, -1, 0]])
HIDDEN = np.random.default_rng(0).normal(size=(B, T, D))
COTANGENT = np.random.default_rng(1).normal(size=(B, TEXTS, D))


def text_vectors(hidden, num_segments=TEXTS):
    return sentence_vectors(hidden, jnp.asarray(SEGMENTS, jnp.int32), num_segments)


@jax.jit
def _program(hidden):
    """The vectors, the gradient of a linear loss, and that of a quadratic one, which depends on the values."""
    linear = jax.grad(lambda hidden: jnp.sum(text_vectors(hidden) * COTANGENT.astype(hidden.dtype)))
    return text_vectors(hidden), linear(hidden), jax.grad(lambda hidden: jnp.sum(text_vectors(hidden) ** 2))(hidden)


def measure(hidden, dtype):
    with jax.enable_x64(dtype == np.float64):
        return jax.device_get(_program(np.asarray(hidden, dtype)))


@pytest.fixture(scope="module")
def double():
    return measure(HIDDEN, np.float64)


@pytest.fixture(scope="module")
def single():
    return measure(HIDDEN, np.float32)


def tokens_of(row, text):
    return [token for token in range(T) if SEGMENTS[row, token] == text]


def reference(hidden):
    """The mean over the tokens of each text, or zeros."""
    vectors = np.zeros((B, TEXTS, D))
    for row, text in np.ndindex(B, TEXTS):
        if tokens := tokens_of(row, text + 1):
            vectors[row, text] = sum(hidden[row, token] for token in tokens) / len(tokens)
    return vectors


def test_sentence_vectors_equal_their_definition(double, single):
    np.testing.assert_allclose(double[0], reference(HIDDEN), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(single[0], reference(HIDDEN), rtol=1e-5, atol=1e-7)


def test_sentence_counts_are_numbers_of_tokens(single):
    counts = sentence_counts(jnp.asarray(SEGMENTS), TEXTS)
    np.testing.assert_array_equal(counts, [[2, 3, 1, 1], [3, 0, 2, 0], [0, 2, 0, 0]])
    assert not single[0][np.asarray(counts) == 0].any()


def test_sentence_vectors_of_an_attention_mask_are_masked_means():
    """With one text per row, the attention mask takes the place of segment ids."""
    mask = np.asarray([[1] * 7, [1] * 3 + [0] * 4, [0, 1, 1, 0, 0, 0, 0]])
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(sentence_vectors, static_argnums=2)(HIDDEN, mask, 1))
    expected = (HIDDEN * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-10)


def test_sentence_vectors_gradient_is_spread_over_tokens(double):
    """Each token of a text gets the text's cotangent divided by its token count; any other token gets 0."""
    expected = np.zeros_like(HIDDEN)
    for row, text in np.ndindex(B, TEXTS):
        for token in tokens_of(row, text + 1):
            expected[row, token] = COTANGENT[row, text] / len(tokens_of(row, text + 1))
    np.testing.assert_allclose(double[1], expected, rtol=1e-10)


@pytest.mark.parametrize("filler", [1e4, np.nan, np.inf])
def test_sentence_vectors_ignore_tokens_of_no_text(filler, single):
    is_used = (SEGMENTS > 0) & (SEGMENTS <= TEXTS)
    spoiled = np.where(is_used[:, :, None], HIDDEN, filler)
    jax.tree.map(np.testing.assert_array_equal, measure(spoiled, np.float32), single)


def test_sentence_vectors_lose_no_precision():
    """The vectors of bfloat16 are float32, and the product has the highest precision, which accelerators do not default
    to.
    """
    hidden = HIDDEN.astype(jnp.bfloat16)
    vectors = jax.jit(text_vectors)(hidden)
    assert vectors.dtype == jnp.float32
    np.testing.assert_allclose(vectors, reference(np.asarray(hidden, np.float64)), rtol=1e-5, atol=1e-7)
    (product,) = (e for e in jax.make_jaxpr(text_vectors)(hidden).eqns if e.primitive.name == "dot_general")
    assert set(product.params["precision"]) == {jax.lax.Precision.HIGHEST}


@pytest.mark.parametrize("number", [0, -1])
def test_sentence_vectors_refuse_less_than_one_text(number):
    for function in (
        lambda: text_vectors(jnp.asarray(HIDDEN, jnp.float32), number),
        lambda: sentence_counts(jnp.asarray(SEGMENTS), number),
    ):
        with pytest.raises(ValueError, match=f"num_segments of at least 1, got {number}"):
            function()
