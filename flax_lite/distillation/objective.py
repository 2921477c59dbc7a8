"""The objective of a distillation: a weighted sum of losses between a student and a teacher."""

import dataclasses
import math
import operator
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from flax_lite.architecture.config import EncoderConfig
from flax_lite.distillation.losses import LOSSES, DistillationInputs, Loss, View, sentence_weights
from flax_lite.distillation.recipe import DistillationRecipe, Pair, uniform_layer_map
from flax_lite.models.params import with_params
from flax_lite.training.objective import Batch, Objective, Sums, masked_weights, model_inputs, token_weights

# Positions in the pairs of a layer map.
_TEACHER, _STUDENT = 0, 1


def student_predicts_words(recipe: DistillationRecipe) -> bool:
    """Whether a loss reads the student's masked-LM head."""
    return any(LOSSES[name].words is not None for name in recipe.losses)


def teacher_predicts_words(recipe: DistillationRecipe) -> bool:
    """Whether a loss reads the teacher's masked-LM head."""
    return any(LOSSES[name].words == "both" for name in recipe.losses)


def needed_projections(recipe: DistillationRecipe) -> tuple[str, ...]:
    """Returns the names of the width projections that the losses can use."""
    return tuple(sorted({loss.projects for loss in map(LOSSES.__getitem__, recipe.losses) if loss.projects}))


class Projections(nnx.Module):
    """Linear maps from the student's width to the teacher's, W in TinyBERT's equations 8 and 9.

    During training they are an attribute of the student, under the name PROJECTIONS; they are trained with it and then
    discarded.
    """

    def __init__(self, names: tuple[str, ...], student_width: int, teacher_width: int, *, rngs: nnx.Rngs) -> None:
        """Creates the named projections.

        Args:
            names: "hidden", "embedding" or both.
            student_width: D of the student.
            teacher_width: D of the teacher.
            rngs: source of the initial values.
        """
        for name in names:
            setattr(self, name, nnx.Linear(student_width, teacher_width, use_bias=False, rngs=rngs))


def fit_recipe(
    recipe: DistillationRecipe, student: EncoderConfig, teacher: EncoderConfig, *, project: bool = False
) -> DistillationRecipe:
    """Resolves a recipe for two models, with explicit layers counted from 0, and checks it.

    Args:
        recipe: the recipe, with defaults and negative layers.
        student: architecture of the student.
        teacher: architecture of the teacher.
        project: whether the student has projections to the teacher's width.

    Raises:
        ValueError: if there is nothing to optimize, a layer does not exist, or sizes differ that a loss needs to be
            equal.
    """
    unknown = [name for name in recipe.losses if name not in LOSSES]
    if unknown:
        raise ValueError(f"there is no loss {', '.join(unknown)}; choose from {', '.join(LOSSES)}")
    weights = recipe.losses.values()
    if not (any(weight > 0 for weight in weights) and all(0 <= weight < math.inf for weight in weights)):
        raise ValueError(
            f"a distillation needs a loss with a weight above 0 and no negative weights, got {dict(recipe.losses)}"
        )
    if not recipe.temperature > 0:
        raise ValueError(f"temperature={recipe.temperature}; expected a number above 0")
    if recipe.num_chunks < 2:
        raise ValueError(
            f"num_chunks={recipe.num_chunks}: expected 2 or more, so that the logits of a whole row never exist"
        )
    for name in recipe.losses:
        _check_sizes(name, student, teacher, project, recipe.num_pieces)
    depths = teacher.num_hidden_layers, student.num_hidden_layers
    layer_map = recipe.layer_map or uniform_layer_map(*depths)
    _check_relation_heads(recipe, student, teacher)
    return dataclasses.replace(
        recipe,
        layer_map=tuple(_resolve_pair("layer_map", pair, depths) for pair in layer_map),
        relation_layers=_resolve_pair("relation_layers", recipe.relation_layers, depths),
    )


def _check_sizes(
    name: str, student: EncoderConfig, teacher: EncoderConfig, project: bool, num_pieces: int | None
) -> None:
    loss = LOSSES[name]
    if loss.words and num_pieces is not None:
        for owner, config in (("student", student), ("teacher", teacher))[: 2 if loss.words == "both" else 1]:
            if config.vocab_size < num_pieces:
                raise ValueError(
                    f"{name} reads the logits of num_pieces={num_pieces}, but the {owner} has vocab_size="
                    f"{config.vocab_size}: use the tokenizer that both models were trained with"
                )
    for field in loss.same:
        student_value, teacher_value = getattr(student, field), getattr(teacher, field)
        if (
            student_value == teacher_value
            or (loss.projects and project)
            or (field == "vocab_size" and num_pieces is not None)
        ):
            continue
        cure = f", or project the student's {loss.projects} states to the teacher's width" if loss.projects else ""
        raise ValueError(
            f"{name} compares models of the same {field}, but the teacher has {teacher_value}, the student "
            f"{student_value}: leave the loss out, make them equal{cure}"
        )


def _resolve_pair(option: str, pair: Any, depths: Pair) -> Pair:
    """Returns a (teacher layer, student layer) pair counted from 0."""
    try:
        layers = (operator.index(layer) for layer in pair)
        teacher_layer, student_layer = (
            layer % depth if -depth <= layer < depth else None for layer, depth in zip(layers, depths, strict=True)
        )
    except (TypeError, ValueError):
        raise ValueError(f"{option} has {pair!r}; expected pairs (teacher layer, student layer)") from None
    if teacher_layer is None or student_layer is None:
        raise ValueError(
            f"{option} names the layers {tuple(pair)} of teacher and student, which have {depths[0]} and {depths[1]} "
            "(counted from 0; negative ones from the end)"
        )
    return teacher_layer, student_layer


def _check_relation_heads(recipe: DistillationRecipe, student: EncoderConfig, teacher: EncoderConfig) -> None:
    heads = teacher.num_attention_heads if recipe.relation_heads is None else recipe.relation_heads
    widths = student.hidden_size, teacher.hidden_size
    used = any(LOSSES[name].layers == "relation_layers" and not LOSSES[name].same for name in recipe.losses)
    if used and (heads < 1 or any(width % heads for width in widths)):
        raise ValueError(
            f"relation_heads={heads} must divide the widths of student and teacher, {widths[0]} and {widths[1]}; "
            f"their greatest common divisor is {math.gcd(*widths)}"
        )


def distillation_objective(recipe: DistillationRecipe, teacher: nnx.GraphDef) -> Objective:
    """Weighted sum of losses between a student and a teacher on the same batch.

    The student is a MaskedLM if a loss reads its masked-LM head, otherwise an Encoder suffices. The step's constant is
    the teacher's parameters: the teacher's forward pass runs inside the step, deterministic and without gradient. No
    array of B * T * V elements exists.

    Batches have input_ids, attention_mask [B, T] and row_weights [B]; for losses on masked words also masked_positions,
    masked_ids and masked_weights [B, P]; packed rows also position_ids and segment_ids [B, T].

    Args:
        recipe: a recipe from `fit_recipe`.
        teacher: `nnx.graphdef` of the teacher, a MaskedLM or an Encoder as the losses need.

    Source: Sanh et al. 2019 (arXiv:1910.01108), section 3; TinyBERT (arXiv:1909.10351), section 3.1; MiniLM
        (arXiv:2002.10957), section 3; MiniLMv2 (arXiv:2012.15828), section 3.
    """
    chosen = {name: LOSSES[name] for name in recipe.losses}
    metrics = {metric: loss.per for loss in chosen.values() for metric in loss.metrics}

    def sums(student: Any, batch: Batch, key: jax.Array | None, teacher_params: Any) -> Sums:
        frozen = with_params(teacher, jax.lax.stop_gradient(teacher_params))
        inputs = DistillationInputs(
            student=_view(student, batch, key, _layers(recipe, _STUDENT), chosen),
            teacher=_view(frozen, batch, None, _layers(recipe, _TEACHER), chosen),
            batch=batch,
            recipe=recipe,
        )
        found: Sums = {}
        for name, loss in chosen.items():
            with jax.named_scope(name):
                found |= loss.sums(inputs)
        return found

    def weights(batch: Batch) -> Sums:
        totals = {per: _total(per, batch, recipe) for per in sorted(set(metrics.values()))}
        return {metric: totals[per] for metric, per in metrics.items()}

    losses = {LOSSES[name].metrics[0]: weight for name, weight in recipe.losses.items() if weight}
    return Objective(tuple(metrics), sums, weights, losses)


def _total(per: str, batch: Batch, recipe: DistillationRecipe) -> Array:
    """Returns the divisor of a loss: the total weight of its units in the batch."""
    weights = {
        "token": token_weights,
        "mask": masked_weights,
        "logit": masked_weights if recipe.restrict_to_mask else token_weights,
        "sentence": sentence_weights,
    }
    return jnp.sum(weights[per](batch), dtype=jnp.float32)


def _layers(recipe: DistillationRecipe, side: int) -> tuple[int, ...]:
    """Returns the layers of the teacher or the student that the losses read."""
    pairs = {"layer_map": recipe.layer_map, "relation_layers": (recipe.relation_layers,), None: ()}
    return tuple(sorted({pair[side] for name in recipe.losses for pair in pairs[LOSSES[name].layers]}))


def _view(model: Any, batch: Batch, key: jax.Array | None, layers: tuple[int, ...], chosen: Mapping[str, Loss]) -> View:
    """Runs a model's encoder and captures the values that the losses read."""
    names = tuple(sorted({loss.capture for loss in chosen.values() if loss.capture}))
    encoder = getattr(model, "encoder", model)
    output = encoder(**model_inputs(batch), key=key, capture=names, capture_layers=layers)
    captured = {name: dict(zip(layers, rows, strict=True)) for name, rows in output.captured.items()}
    return View(model, output, captured)
