"""The losses of a distillation by name: what each reads of both models, needs of them, and is divided by."""

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
    of_pieces,
    sum_in_chunks,
    weighted_cross_entropy,
    weighted_sum,
)
from flax_lite.training.objective import Batch, Sums, masked_weights, token_weights


@dataclasses.dataclass(frozen=True)
class View:
    """What one of the two models shows of a batch.

    Attributes:
        model: the model itself, for its head.
        output: of its encoder.
        captured: by what is captured, then by layer, counted from 0.
    """

    model: Any
    output: EncoderOutput
    captured: Mapping[str, Mapping[int, Array]]


@dataclasses.dataclass(frozen=True)
class DistillationInputs:
    """All that a loss may read: both models' views of a batch, the batch, and the recipe with nothing left open."""

    student: View
    teacher: View
    batch: Batch
    recipe: DistillationRecipe

    @property
    def visible(self) -> Bool[Array, "B 1 #T T"] | None:
        """Which key each query may see."""
        return attention_visibility(self.batch["attention_mask"], self.batch.get("segment_ids"))


def _at_masks(batch: Batch, tokens: Float[Array, "B T D"]) -> Float[Array, "B P D"]:
    return jnp.take_along_axis(tokens, batch["masked_positions"][:, :, None], axis=1)


def _on_logits(loss: Callable[..., Array], lesson: DistillationInputs) -> Float[Array, ""]:
    """Sum of a loss on both models' logits, over every token or over the masked ones, in chunks."""
    student, teacher, recipe = lesson.student, lesson.teacher, lesson.recipe
    hidden, weights = [view.output.last_hidden_state for view in (student, teacher)], token_weights(lesson.batch)
    if recipe.restrict_to_mask:
        hidden, weights = [_at_masks(lesson.batch, each) for each in hidden], masked_weights(lesson.batch)

    def chunk_loss(student_hidden: Array, teacher_hidden: Array) -> Array:
        logits = student.model.word_logits(student_hidden), teacher.model.word_logits(teacher_hidden)
        return loss(*(of_pieces(each, recipe.num_pieces) for each in logits))

    chunk_length = -(-weights.shape[1] // recipe.num_chunks)
    return sum_in_chunks(chunk_loss, *hidden, weights=weights, chunk_length=chunk_length)


def _soft_cross_entropy(lesson: DistillationInputs) -> Sums:
    loss = functools.partial(distillation_kl, temperature=lesson.recipe.temperature)
    return {"soft_cross_entropy_loss": _on_logits(loss, lesson)}


def _logit_mse(lesson: DistillationInputs) -> Sums:
    return {"logit_mse_loss": _on_logits(logit_squared_error, lesson)}


def _mlm(lesson: DistillationInputs) -> Sums:
    batch, student = lesson.batch, lesson.student
    logits = student.model.word_logits(_at_masks(batch, student.output.last_hidden_state))
    logits = of_pieces(logits, lesson.recipe.num_pieces)
    loss, correct = weighted_cross_entropy(logits, batch["masked_ids"], masked_weights(batch))
    return {"mlm_loss": loss, "mlm_accuracy": correct}


def _cosine(lesson: DistillationInputs) -> Sums:
    student, teacher = (view.output.last_hidden_state for view in (lesson.student, lesson.teacher))
    return {"cosine_loss": weighted_sum(cosine_distance(student, teacher), token_weights(lesson.batch))}


def _hidden_mse(lesson: DistillationInputs) -> Sums:
    projection = project(lesson.student.model, "hidden")
    total = sum(
        weighted_sum(
            mean_squared_error(
                projection(lesson.student.captured["outputs"][own]), lesson.teacher.captured["outputs"][theirs]
            ),
            token_weights(lesson.batch),
        )
        for theirs, own in lesson.recipe.layer_map
    )
    return {"hidden_mse_loss": jnp.asarray(total)}


def _embedding_mse(lesson: DistillationInputs) -> Sums:
    student = project(lesson.student.model, "embedding")(lesson.student.output.embedding_output)
    error = mean_squared_error(student, lesson.teacher.output.embedding_output)
    return {"embedding_mse_loss": weighted_sum(error, token_weights(lesson.batch))}


def _attention_mse(lesson: DistillationInputs) -> Sums:
    student, teacher = (view.captured["scores"] for view in (lesson.student, lesson.teacher))
    total = sum(
        weighted_sum(attention_score_error(student[own], teacher[theirs], lesson.visible), token_weights(lesson.batch))
        for theirs, own in lesson.recipe.layer_map
    )
    return {"attention_mse_loss": jnp.asarray(total)}


def _attention_relation(lesson: DistillationInputs) -> Sums:
    theirs, own = lesson.recipe.relation_layers
    student, teacher = lesson.student.captured["scores"][own], lesson.teacher.captured["scores"][theirs]
    divergence = attention_divergence(student, teacher, lesson.visible)
    return {"attention_relation_loss": weighted_sum(divergence, token_weights(lesson.batch))}


def _relation(part: str, lesson: DistillationInputs) -> Sums:
    theirs, own = lesson.recipe.relation_layers
    student, teacher = lesson.student.captured[part][own], lesson.teacher.captured[part][theirs]
    heads = lesson.recipe.relation_heads or teacher.shape[2]
    divergence = relation_divergence(student, teacher, lesson.visible, heads)
    return {f"{_SINGULAR[part]}_relation_loss": weighted_sum(divergence, token_weights(lesson.batch))}


def _sentence_mse(lesson: DistillationInputs) -> Sums:
    projection = project(lesson.student.model, "hidden")
    hidden = (projection(lesson.student.output.last_hidden_state), lesson.teacher.output.last_hidden_state)
    segments, most = _segments(lesson.batch)
    student, teacher = (sentence_vectors(each, segments, most) for each in hidden)
    return {"sentence_mse_loss": weighted_sum(mean_squared_error(student, teacher), sentence_weights(lesson.batch))}


def project(student: Any, name: str) -> Callable[[Array], Array]:
    """The student's width projection of that name; nothing is changed where it has none."""
    return getattr(getattr(student, PROJECTIONS, None), name, lambda hidden: hidden)


def _segments(batch: Batch) -> tuple[Array, int]:
    """Which text of its row each token is of, from 1; and how many there can be: each has [CLS], [SEP] and a token."""
    mask = batch["attention_mask"].astype(jnp.int32)
    if "segment_ids" not in batch:
        return mask, 1
    return batch["segment_ids"] * mask, max(1, mask.shape[1] // 3)


def sentence_weights(batch: Batch) -> Float[Array, "B S"]:
    """1 for each text."""
    return (sentence_counts(*_segments(batch)) > 0) * batch["row_weights"][:, None]


_SINGULAR = {"queries": "query", "keys": "key", "values": "value"}


@dataclasses.dataclass(frozen=True)
class Loss:
    """A row of LOSSES.

    Attributes:
        sums: what it measures of a lesson, by the names of the metrics; the first is the loss.
        metrics: those names.
        words: whose masked-LM head it reads, if any.
        capture: what it captures of both models' layers.
        layers: the layers it compares: those of the layer map, or of the relations.
        per: what its sums are divided by the number of.
        same: fields of the configurations that have to be equal.
        projects: the width projection that may make up for different widths.
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
