"""Objectives: what a job optimizes and reports of a batch; those of pretraining, and what all objectives read."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flax_lite.models.heads import MaskedLM, PreTraining
from flax_lite.training.losses import of_pieces, weighted_cross_entropy

Batch = Mapping[str, Array]
Sums = dict[str, Array]
# What an encoder reads of a batch, as far as it is there.
_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "segment_ids")


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a job optimizes and reports, as weighted sums, so that nothing depends on how a batch is split.

    Attributes:
        names: what is measured, e.g. "mlm_loss", "mlm_accuracy".
        sums: (model, batch, key, *constants) to a sum for each name. `key=None` is deterministic; constants are what
            the step was given beside state and batch, as a teacher's parameters.
        weights: batch to the sum of weights that each name is divided by. It looks at the batch only, so that the
            divisor of the whole batch is known before its first micro-batch is computed.
        losses: names whose quotients are added up to the loss, each with its factor.
        compares_rows: whether a row's loss depends on the other rows of its batch: then micro-batches would have other
            sums than the whole, and `make_train_step` refuses them.
    """

    names: tuple[str, ...]
    sums: Callable[..., Sums]
    weights: Callable[[Batch], Sums]
    losses: Mapping[str, float]
    compares_rows: bool = False


def averages(sums: Mapping[str, Any], weights: Mapping[str, Any], losses: Mapping[str, float]) -> dict[str, Any]:
    """Each sum over its weight, however small, and "loss", their weighted total. What has no weight is 0."""
    means = {name: total / jnp.where(weights[name] > 0, weights[name], 1.0) for name, total in sums.items()}
    return {"loss": sum(factor * means[name] for name, factor in losses.items()), **means}


def model_inputs(batch: Batch) -> dict[str, Any]:
    """What an encoder reads of a batch: the rows, and what is given of their masks, types, positions and segments."""
    return {name: batch[name] for name in _INPUTS if name in batch}


def token_weights(batch: Batch) -> Float[Array, "rows T"]:
    """1 for each real token, a row for each row of tokens: of multiple choice, B times the choices."""
    mask = batch["attention_mask"]
    weights = mask * batch["row_weights"].reshape(-1, *[1] * (mask.ndim - 1))
    return weights.reshape(-1, mask.shape[-1])


def masked_weights(batch: Batch) -> Float[Array, "B P"]:
    """1 for each masked position in use."""
    return batch["masked_weights"] * batch["row_weights"][:, None]


def masked_lm_objective(num_pieces: int | None = None) -> Objective:
    """Masked-LM loss alone, averaged over the masked positions; for MaskedLM, and so for all three families.

    Batches are those of `pretraining_objective`, without `sentence_label`. Where texts share a row they also hold
    position_ids and segment_ids [B, T]: attention then keeps the texts apart.

    Args:
        num_pieces: of the tokenizer, where the table may have more rows (`flax_lite.training.losses.of_pieces`).
    """
    names = ("mlm_loss", "mlm_accuracy")

    def sums(model: MaskedLM, batch: Batch, key: jax.Array | None) -> Sums:
        output = model(**model_inputs(batch), key=key, masked_positions=batch["masked_positions"])
        logits = of_pieces(output.logits, num_pieces)
        loss, correct = weighted_cross_entropy(logits, batch["masked_ids"], masked_weights(batch))
        return dict(zip(names, (loss, correct), strict=True))

    def weights(batch: Batch) -> Sums:
        return dict.fromkeys(names, jnp.sum(masked_weights(batch)))

    return Objective(names, sums, weights, {"mlm_loss": 1.0})


def pretraining_objective(sentence_task: str = "sop", num_pieces: int | None = None) -> Objective:
    """Masked-LM loss plus sentence loss, each averaged over its own elements.

    Source: ALBERT section 3.1; google-research/albert run_pretraining.py.

    Batches are as `flax_lite.rows.masking` and the train pipelines make them: input_ids, attention_mask, token_type_ids
    [B, T]; masked_positions, masked_ids, masked_weights [B, P]; sentence_label, row_weights [B] (0 for a row that only
    fills the batch up).

    Args:
        sentence_task: how the sentence task is called in the metrics: "sop" gives "sop_loss" and "sop_accuracy", "nsp"
            likewise.
        num_pieces: as in `masked_lm_objective`.
    """
    names = ("mlm_loss", "mlm_accuracy", f"{sentence_task}_loss", f"{sentence_task}_accuracy")

    def sums(model: PreTraining, batch: Batch, key: jax.Array | None) -> Sums:
        return dict(zip(names, _pretraining_sums(model, batch, key, num_pieces), strict=True))

    def weights(batch: Batch) -> Sums:
        masked = jnp.sum(masked_weights(batch))
        rows = jnp.sum(batch["row_weights"])
        return dict(zip(names, (masked, masked, rows, rows), strict=True))

    return Objective(names, sums, weights, {"mlm_loss": 1.0, f"{sentence_task}_loss": 1.0})


def _pretraining_sums(
    model: PreTraining, batch: Batch, key: jax.Array | None, num_pieces: int | None
) -> tuple[Array, Array, Array, Array]:
    output = model(**model_inputs(batch), key=key, masked_positions=batch["masked_positions"])
    logits = of_pieces(output.prediction_logits, num_pieces)
    words = weighted_cross_entropy(logits, batch["masked_ids"], masked_weights(batch))
    sentences = weighted_cross_entropy(output.sentence_logits, batch["sentence_label"], batch["row_weights"])
    return *words, *sentences
