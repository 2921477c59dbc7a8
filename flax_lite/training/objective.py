"""Objectives: loss and metrics of a batch as weighted sums; those of pretraining, and helpers for all objectives."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flax_lite.models.heads import MaskedLM, PreTraining
from flax_lite.training.losses import piece_logits, weighted_cross_entropy

Batch = Mapping[str, Array]
Sums = dict[str, Array]
# Entries of a batch that an encoder takes, if present.
_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "segment_ids")


@dataclasses.dataclass(frozen=True)
class Objective:
    """Loss and metrics of a batch as weighted sums, so that the result does not depend on how a batch is split.

    Attributes:
        names: metrics, e.g. "mlm_loss", "mlm_accuracy".
        sums: function (model, batch, key, *constants) that returns a sum for each name. `key=None` is deterministic;
            constants are the further arguments of the step, such as a teacher's parameters.
        weights: function of the batch that returns the divisor of each name. It reads only the batch, so that the
            divisor of the whole batch is known before its first micro-batch is computed.
        losses: factor of each average in the loss, by name.
        compares_rows: whether the loss of a row depends on the other rows of its batch. The sums of micro-batches would
            then differ from those of the whole batch, and `make_train_step` refuses them.
    """

    names: tuple[str, ...]
    sums: Callable[..., Sums]
    weights: Callable[[Batch], Sums]
    losses: Mapping[str, float]
    compares_rows: bool = False


def averages(sums: Mapping[str, Any], weights: Mapping[str, Any], losses: Mapping[str, float]) -> dict[str, Any]:
    """Divides each sum by its weight (0 if there is no weight), and adds "loss", the weighted total."""
    means = {name: total / jnp.where(weights[name] > 0, weights[name], 1.0) for name, total in sums.items()}
    return {"loss": sum(factor * means[name] for name, factor in losses.items()), **means}


def model_inputs(batch: Batch) -> dict[str, Any]:
    """Returns the arguments of an encoder in a batch: input ids and, if present, masks, types, positions, segments."""
    return {name: batch[name] for name in _INPUTS if name in batch}


def token_weights(batch: Batch) -> Float[Array, "rows T"]:
    """Weight of each token: 1 for real tokens; multiple choice has one row per choice."""
    mask = batch["attention_mask"]
    weights = mask * batch["row_weights"].reshape(-1, *[1] * (mask.ndim - 1))
    return weights.reshape(-1, mask.shape[-1])


def masked_weights(batch: Batch) -> Float[Array, "B P"]:
    """Weight of each masked position: 1 for used slots."""
    return batch["masked_weights"] * batch["row_weights"][:, None]


def masked_lm_objective(num_pieces: int | None = None) -> Objective:
    """Masked-LM loss, averaged over the masked positions; for MaskedLM of any family.

    Batches are those of `pretraining_objective`, without `sentence_label`. Packed rows also have position_ids and
    segment_ids [B, T], so that texts of one row do not attend to each other.

    Args:
        num_pieces: number of the tokenizer's pieces, if the table may have more rows
            (`flax_lite.training.losses.piece_logits`).
    """
    names = ("mlm_loss", "mlm_accuracy")

    def sums(model: MaskedLM, batch: Batch, key: jax.Array | None) -> Sums:
        output = model(**model_inputs(batch), key=key, masked_positions=batch["masked_positions"])
        logits = piece_logits(output.logits, num_pieces)
        loss, correct = weighted_cross_entropy(logits, batch["masked_ids"], masked_weights(batch))
        return dict(zip(names, (loss, correct), strict=True))

    def weights(batch: Batch) -> Sums:
        return dict.fromkeys(names, jnp.sum(masked_weights(batch)))

    return Objective(names, sums, weights, {"mlm_loss": 1.0})


def pretraining_objective(sentence_task: str = "sop", num_pieces: int | None = None) -> Objective:
    """Masked-LM loss, averaged over masked positions, plus sentence loss, averaged over rows.

    Batches have input_ids, attention_mask, token_type_ids [B, T]; masked_positions, masked_ids, masked_weights [B, P];
    sentence_label, row_weights [B] (0 for a row that only fills the batch).

    Args:
        sentence_task: prefix of the sentence task's metrics: "sop" for "sop_loss" and "sop_accuracy", or "nsp".
        num_pieces: as in `masked_lm_objective`.

    Source: Lan et al. 2020 (arXiv:1909.11942), section 3.1; Devlin et al. 2019 (arXiv:1810.04805), section 3.1;
        google-research/albert run_pretraining.py.
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
    logits = piece_logits(output.prediction_logits, num_pieces)
    words = weighted_cross_entropy(logits, batch["masked_ids"], masked_weights(batch))
    sentences = weighted_cross_entropy(output.sentence_logits, batch["sentence_label"], batch["row_weights"])
    return *words, *sentences
