"""Objectives of sentence encoders: the similarity of two sentences' vectors."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from flax_lite.layers.sentence_vectors import sentence_vectors
from flax_lite.models.params import with_params
from flax_lite.training.losses import cross_entropy, weighted_sum
from flax_lite.training.objective import Batch, Objective, Sums, model_inputs

Pooling = Literal["mean", "cls"]
Loss = Literal["cosine", "contrastive"]
_MASKED_LOGIT = -1e9


def pooled(hidden: Float[Array, "B T D"], mask: Int[Array, "B T"], pooling: Pooling) -> Float[Array, "B D"]:
    """Returns the unit vector of each sentence: the mean over its tokens ("mean"), or its first token ("cls")."""
    vectors = sentence_vectors(hidden, mask, 1)[:, 0] if pooling == "mean" else hidden[:, 0].astype(jnp.float32)
    return vectors * jax.lax.rsqrt(jnp.sum(vectors * vectors, axis=-1, keepdims=True) + 1e-12)


def sentence_objective(loss: Loss, pooling: Pooling, *, temperature: float = 0.05) -> Objective:
    """Loss of pairs of sentences (u, v): regression of their cosine, or contrastive with in-batch negatives.

    cosine: (cos(u, v) - y)^2, y in [-1, 1].
    contrastive: -log exp(cos(u_i, v_i) / T) / sum_j exp(cos(u_i, v_j) / T) over the pairs j of the whole batch, which
    excludes micro-batches. Labels are not read: every pair is a positive one. A pair j with the same first sentence as
    i, or whose second sentence is one of i's, is no negative of i and is left out of the sum.

    Batches have input_ids, attention_mask [B, 2, T], labels [B, 1], row_weights [B].

    Args:
        loss: "cosine" or "contrastive".
        pooling: "mean" or "cls".
        temperature: T.

    Raises:
        ValueError: for an unknown loss, or a temperature that is not above 0.

    Source: Reimers and Gurevych 2019 (arXiv:1908.10084), section 3; Henderson et al. 2017 (arXiv:1705.00652), section
        4, with the scale of sentence-transformers' MultipleNegativesRankingLoss, 1 / 0.05.
    """
    if loss not in ("cosine", "contrastive"):
        raise ValueError(f"there is no sentence loss {loss!r}; choose cosine or contrastive")
    if not temperature > 0:
        raise ValueError(f"contrastive needs a temperature above 0, got {temperature}")

    def sums(model: Any, batch: Batch, key: jax.Array | None) -> Sums:
        first, second = pair_vectors(model, batch, pooling, key)
        weights = batch["row_weights"]
        if loss == "cosine":
            errors = (jnp.sum(first * second, axis=-1) - batch["labels"][:, 0]) ** 2
        else:
            is_candidate = (weights[None, :] > 0) & _candidates(batch)
            similar = jnp.where(is_candidate, first @ second.T / temperature, _MASKED_LOGIT)
            errors = cross_entropy(similar, jnp.arange(len(similar)))
        return {"task_loss": weighted_sum(errors, weights)}

    return Objective(
        ("task_loss",),
        sums,
        lambda batch: {"task_loss": jnp.sum(batch["row_weights"])},
        {"task_loss": 1.0},
        compares_rows=loss == "contrastive",
    )


def _candidates(batch: Batch) -> Bool[Array, "B B"]:
    """Whether the second sentence of pair j is a candidate for pair i: its own, or a negative.

    Pairs that share a sentence are no negatives of each other; sentence-transformers' NoDuplicatesBatchSampler keeps
    them out of the same batch instead.
    """
    ids = jnp.where(batch["attention_mask"] > 0, batch["input_ids"], -1)
    same = lambda side_i, side_j: jnp.all(ids[:, None, side_i] == ids[None, :, side_j], axis=-1)  # noqa: E731
    return ~(same(0, 0) | same(1, 1) | same(0, 1)) | jnp.eye(len(ids), dtype=bool)


def pair_vectors(
    model: Any, batch: Batch, pooling: Pooling, key: jax.Array | None = None
) -> tuple[Float[Array, "B D"], Float[Array, "B D"]]:
    """Returns the unit vectors of the first and second sentences of the pairs, by one pass of the encoder."""
    rows = {name: array.reshape(-1, array.shape[-1]) for name, array in model_inputs(batch).items()}
    vectors = pooled(model(**rows, key=key).last_hidden_state, rows["attention_mask"], pooling)
    both = vectors.reshape(-1, 2, vectors.shape[-1])
    return both[:, 0], both[:, 1]


def make_sentence_eval_step(structure: nnx.GraphDef, pooling: Pooling) -> Callable[[Any, Batch], dict[str, Array]]:
    """Creates a pure function (params, batch) -> {"task_loss", "weight", "logits_0"}, without dropout.

    "logits_0" [B, 1] is the cosine of each pair; "task_loss" the sum of the squared errors, to be divided by the sum of
    "weight".
    """

    def step(params: Any, batch: Batch) -> dict[str, Array]:
        first, second = pair_vectors(with_params(structure, params), batch, pooling)
        cosines = jnp.sum(first * second, axis=-1)
        weights = batch["row_weights"]
        errors = weighted_sum((cosines - batch["labels"][:, 0]) ** 2, weights)
        return {"task_loss": errors, "weight": jnp.sum(weights), "logits_0": cosines[:, None]}

    return step
