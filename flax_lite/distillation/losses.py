"""The table of distillation losses: their sums, the values that they read of both models, and their divisors."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from flax_lite.checkpoints.sources.work_directory import PROJECTIONS
from flax_lite.distillation.recipe import DistillationRecipe
from flax_lite.distillation.relations import attention_divergence, attention_score_error, relation_divergence
from flax_lite.layers.attention import attention_visibility
from flax_lite.layers.sentence_vectors import sentence_counts, sentence_vectors
from flax_lite.models.outputs import EncoderOutput
from flax_lite.training.losses import (
    cosine_distance,
    distillation_kl,
    logit_squared_error,
    mean_squared_error,
    piece_logits,
    sum_in_chunks,
    weighted_cross_entropy,
    weighted_sum,
)
from flax_lite.training.objective import Batch, Sums, masked_weights, token_weights


@dataclasses.dataclass(frozen=True)
class View:
    """A model and its encoder's output for a batch.

    Attributes:
        model: the model, for its head.
        output: output of its encoder.
        captured: captured values by name, then by layer, counted from 0.
    """

    model: Any
    output: EncoderOutput
    captured: Mapping[str, Mapping[int, Array]]


@dataclasses.dataclass(frozen=True)
class DistillationInputs:
    """Inputs of a loss: both models' views of a batch, the batch, and the resolved recipe."""

    student: View
    teacher: View
    batch: Batch
    recipe: DistillationRecipe

    @property
    def visible(self) -> Bool[Array, "B 1 #T T"] | None:
        """Keys that each query may attend to."""
        return attention_visibility(self.batch["attention_mask"], self.batch.get("segment_ids"))


def _at_masks(batch: Batch, tokens: Float[Array, "B T D"]) -> Float[Array, "B P D"]:
    return jnp.take_along_axis(tokens, batch["masked_positions"][:, :, None], axis=1)


def _on_logits(loss: Callable[..., Array], inputs: DistillationInputs) -> Float[Array, ""]:
    """Sums a loss on both models' logits over every token or over the masked ones, in chunks."""
    student, teacher, recipe = inputs.student, inputs.teacher, inputs.recipe
    hidden, weights = [view.output.last_hidden_state for view in (student, teacher)], token_weights(inputs.batch)
    if recipe.restrict_to_mask:
        hidden, weights = [_at_masks(inputs.batch, each) for each in hidden], masked_weights(inputs.batch)

    def chunk_loss(student_hidden: Array, teacher_hidden: Array) -> Array:
        logits = student.model.word_logits(student_hidden), teacher.model.word_logits(teacher_hidden)
        return loss(*(piece_logits(each, recipe.num_pieces) for each in logits))

    chunk_length = -(-weights.shape[1] // recipe.num_chunks)
    return sum_in_chunks(chunk_loss, *hidden, weights=weights, chunk_length=chunk_length)


def _soft_cross_entropy(inputs: DistillationInputs) -> Sums:
    loss = functools.partial(distillation_kl, temperature=inputs.recipe.temperature)
    return {"soft_cross_entropy_loss": _on_logits(loss, inputs)}


def _logit_mse(inputs: DistillationInputs) -> Sums:
    return {"logit_mse_loss": _on_logits(logit_squared_error, inputs)}


def _mlm(inputs: DistillationInputs) -> Sums:
    batch, student = inputs.batch, inputs.student
    logits = student.model.word_logits(_at_masks(batch, student.output.last_hidden_state))
    logits = piece_logits(logits, inputs.recipe.num_pieces)
    loss, correct = weighted_cross_entropy(logits, batch["masked_ids"], masked_weights(batch))
    return {"mlm_loss": loss, "mlm_accuracy": correct}


def _cosine(inputs: DistillationInputs) -> Sums:
    student, teacher = (view.output.last_hidden_state for view in (inputs.student, inputs.teacher))
    return {"cosine_loss": weighted_sum(cosine_distance(student, teacher), token_weights(inputs.batch))}


def _hidden_mse(inputs: DistillationInputs) -> Sums:
    projection = project(inputs.student.model, "hidden")
    total = sum(
        weighted_sum(
            mean_squared_error(
                projection(inputs.student.captured["outputs"][student_layer]),
                inputs.teacher.captured["outputs"][teacher_layer],
            ),
            token_weights(inputs.batch),
        )
        for teacher_layer, student_layer in inputs.recipe.layer_map
    )
    return {"hidden_mse_loss": jnp.asarray(total)}


def _embedding_mse(inputs: DistillationInputs) -> Sums:
    student = project(inputs.student.model, "embedding")(inputs.student.output.embedding_output)
    error = mean_squared_error(student, inputs.teacher.output.embedding_output)
    return {"embedding_mse_loss": weighted_sum(error, token_weights(inputs.batch))}


def _attention_mse(inputs: DistillationInputs) -> Sums:
    student, teacher = (view.captured["scores"] for view in (inputs.student, inputs.teacher))
    total = sum(
        weighted_sum(
            attention_score_error(student[student_layer], teacher[teacher_layer], inputs.visible),
            token_weights(inputs.batch),
        )
        for teacher_layer, student_layer in inputs.recipe.layer_map
    )
    return {"attention_mse_loss": jnp.asarray(total)}


def _relation_pair(name: str, inputs: DistillationInputs) -> tuple[Array, Array]:
    """Returns captured values of the student's and the teacher's relation layer."""
    teacher_layer, student_layer = inputs.recipe.relation_layers
    return inputs.student.captured[name][student_layer], inputs.teacher.captured[name][teacher_layer]


def _attention_relation(inputs: DistillationInputs) -> Sums:
    student, teacher = _relation_pair("scores", inputs)
    divergence = attention_divergence(student, teacher, inputs.visible)
    return {"attention_relation_loss": weighted_sum(divergence, token_weights(inputs.batch))}


def _relation(part: str, inputs: DistillationInputs) -> Sums:
    student, teacher = _relation_pair(part, inputs)
    heads = inputs.recipe.relation_heads or teacher.shape[2]
    divergence = relation_divergence(student, teacher, inputs.visible, heads)
    return {f"{_SINGULAR[part]}_relation_loss": weighted_sum(divergence, token_weights(inputs.batch))}


def _sentence_mse(inputs: DistillationInputs) -> Sums:
    projection = project(inputs.student.model, "hidden")
    hidden = (projection(inputs.student.output.last_hidden_state), inputs.teacher.output.last_hidden_state)
    segments, max_texts = _segments(inputs.batch)
    student, teacher = (sentence_vectors(each, segments, max_texts) for each in hidden)
    return {"sentence_mse_loss": weighted_sum(mean_squared_error(student, teacher), sentence_weights(inputs.batch))}


def project(student: Any, name: str) -> Callable[[Array], Array]:
    """Returns the student's width projection of that name; the identity if it has none."""
    return getattr(getattr(student, PROJECTIONS, None), name, lambda hidden: hidden)


def _segments(batch: Batch) -> tuple[Array, int]:
    """Returns the number of each token's text in its row, from 1, and the maximum: a text has at least 3 tokens."""
    mask = batch["attention_mask"].astype(jnp.int32)
    if "segment_ids" not in batch:
        return mask, 1
    return batch["segment_ids"] * mask, max(1, mask.shape[1] // 3)


def sentence_weights(batch: Batch) -> Float[Array, "B S"]:
    """Weight of each text: 1 for texts with tokens."""
    return (sentence_counts(*_segments(batch)) > 0) * batch["row_weights"][:, None]


_SINGULAR = {"queries": "query", "keys": "key", "values": "value"}


@dataclasses.dataclass(frozen=True)
class Loss:
    """A row of LOSSES.

    Attributes:
        sums: function that returns the sum of each metric; the first metric is the loss.
        metrics: names of the metrics.
        words: models whose masked-LM head it reads.
        capture: name of the values that it captures from both models' layers.
        layers: layers that it compares: those of the layer map, or of the relations.
        per: unit whose number its sums are divided by.
        same: config fields that must be equal in both models.
        projects: name of the width projection that allows different widths.
    """

    sums: Callable[[DistillationInputs], Sums]
    metrics: tuple[str, ...]
    words: Literal["student", "both"] | None = None
    capture: str | None = None
    layers: Literal["layer_map", "relation_layers"] | None = None
    per: Literal["token", "mask", "logit", "sentence"] = "token"
    same: tuple[str, ...] = ()
    projects: Literal["hidden", "embedding"] | None = None


LOSSES: dict[str, Loss] = {
    "soft_cross_entropy": Loss(
        _soft_cross_entropy, ("soft_cross_entropy_loss",), words="both", per="logit", same=("vocab_size",)
    ),
    "logit_mse": Loss(_logit_mse, ("logit_mse_loss",), words="both", per="logit", same=("vocab_size",)),
    "mlm": Loss(_mlm, ("mlm_loss", "mlm_accuracy"), words="student", per="mask"),
    "cosine": Loss(_cosine, ("cosine_loss",), same=("hidden_size",)),
    "hidden_mse": Loss(
        _hidden_mse,
        ("hidden_mse_loss",),
        capture="outputs",
        layers="layer_map",
        same=("hidden_size",),
        projects="hidden",
    ),
    "embedding_mse": Loss(_embedding_mse, ("embedding_mse_loss",), same=("hidden_size",), projects="embedding"),
    "attention_mse": Loss(
        _attention_mse, ("attention_mse_loss",), capture="scores", layers="layer_map", same=("num_attention_heads",)
    ),
    "attention_relation": Loss(
        _attention_relation,
        ("attention_relation_loss",),
        capture="scores",
        layers="relation_layers",
        same=("num_attention_heads",),
    ),
    **{
        f"{name}_relation": Loss(
            functools.partial(_relation, part), (f"{name}_relation_loss",), capture=part, layers="relation_layers"
        )
        for part, name in _SINGULAR.items()
    },
    "sentence_mse": Loss(
        _sentence_mse, ("sentence_mse_loss",), per="sentence", same=("hidden_size",), projects="hidden"
    ),
}
