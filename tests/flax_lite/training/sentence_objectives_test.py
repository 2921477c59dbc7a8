"""Objectives of pairs of sentences against their formulas in float64."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.training.sentence_objectives import sentence_objective

PAIRS, LENGTH, WIDTH = 4, 5, 8


def model(input_ids, attention_mask, key=None):
    """Hidden states that depend on the token and its position; NaN for padding, which nothing may read."""
    table = jax.random.normal(jax.random.key(0), (20, WIDTH))
    hidden = table[input_ids] * jnp.arange(1, LENGTH + 1)[:, None]
    return SimpleNamespace(last_hidden_state=jnp.where(attention_mask[..., None] > 0, hidden, jnp.nan))


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, LENGTH + 1, size=(PAIRS, 2, 1))
    batch = {
        "input_ids": rng.integers(20, size=(PAIRS, 2, LENGTH)),
        "attention_mask": (np.arange(LENGTH) < lengths).astype(np.int32),
        "labels": rng.uniform(-1, 1, size=(PAIRS, 1)).astype(np.float32),
        "row_weights": np.array([1.0, 0.5, 0.0, 1.0], np.float32),  # the third only fills the batch
    }
    return jax.tree.map(jnp.asarray, batch)


def cosines(batch, pooling):
    """cos(u_i, v_j) of all pairs i, j."""
    hidden = np.asarray(model(batch["input_ids"], batch["attention_mask"]).last_hidden_state, np.float64)
    vectors = hidden[:, :, 0] if pooling == "cls" else np.nanmean(hidden, axis=2)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors[:, 0] @ vectors[:, 1].T


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_cosine_is_the_squared_error_of_the_cosine(batch, pooling):
    objective = sentence_objective("cosine", pooling)
    expected = np.sum(batch["row_weights"] * (np.diag(cosines(batch, pooling)) - batch["labels"][:, 0]) ** 2)
    np.testing.assert_allclose(objective.sums(model, batch, None)["task_loss"], expected, rtol=1e-5)
    assert objective.weights(batch)["task_loss"] == 2.5


def test_contrastive_is_the_cross_entropy_over_pairs_with_weight(batch):
    similar = cosines(batch, "mean")[:, [0, 1, 3]] / 0.1
    positive = [similar[0, 0], similar[1, 1], similar[3, 2]]
    losses = np.log(np.exp(similar[[0, 1, 3]]).sum(axis=-1)) - positive
    found = sentence_objective("contrastive", "mean", temperature=0.1).sums(model, batch, None)["task_loss"]
    np.testing.assert_allclose(found, losses @ [1.0, 0.5, 1.0], rtol=1e-5)


@pytest.mark.parametrize(
    ("sentences", "left_out"),
    [
        ("ab cd ef", []),
        ("ab ab ef", [(0, 1), (1, 0)]),  # the same pair twice
        ("ab ad ef", [(0, 1), (1, 0)]),  # two answers to one question
        ("ab cb ef", [(0, 1), (1, 0)]),  # one answer to two questions
        ("ab ca ef", [(0, 1)]),  # the answer is the question of the other pair
        ("aa cd cd", [(1, 2), (2, 1)]),  # a sentence paired with itself, as in SimCSE, is a positive pair
    ],
)
def test_contrastive_excludes_negatives_that_share_a_sentence(sentences, left_out):
    """Otherwise a pair that occurs twice in a batch would have a loss of at least ln 2."""
    ids = np.array([[[ord(letter) - 96] * LENGTH for letter in pair] for pair in sentences.split()])
    mask = np.ones_like(ids)
    ids[:, 1, -1], mask[:, :, -1] = 7, 0  # padding does not make two sentences different
    batch = jax.tree.map(jnp.asarray, {"input_ids": ids, "attention_mask": mask, "row_weights": np.ones(3, np.float32)})
    scores = np.exp(cosines(batch, "mean") / 0.1)
    positive = np.log(np.diag(scores))
    for pair in left_out:
        scores[pair] = 0.0
    found = sentence_objective("contrastive", "mean", temperature=0.1).sums(model, batch, None)["task_loss"]
    np.testing.assert_allclose(found, (np.log(scores.sum(axis=-1)) - positive).sum(), rtol=1e-5)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="a temperature above 0, got 0"):
        sentence_objective("contrastive", "mean", temperature=0)
