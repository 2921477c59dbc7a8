"""Objectives of fine-tuning: predictions of a task's head against labels and against a teacher of the same task."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from flax_lite.architecture.config import Problem
from flax_lite.models.params import with_params
from flax_lite.training.losses import (
    cross_entropy,
    distillation_kl,
    logit_squared_error,
    mean_squared_error,
    weighted_sum,
)
from flax_lite.training.objective import Batch, Objective, Sums, model_inputs, token_weights

# Logit of padding tokens: its exp is 0, and differences of it are finite.
_MASKED_LOGIT = -1e9


class Decision(NamedTuple):
    """A prediction of a head for each element, with its label and weight.

    Attributes:
        logits: scores of C classes; C predicted numbers for a regression.
        labels: index of the correct class; C numbers for multi_label and regression.
        weights: 0 for padding.
    """

    logits: Float[Array, "*axes C"]
    labels: Int[Array, "*axes"] | Float[Array, "*axes C"]
    weights: Float[Array, "*axes"]


def text_decisions(logits: Float[Array, "B C"], batch: Batch) -> tuple[Decision, ...]:
    """Labels of texts, or the correct one of several choices: batch["labels"], [B] or [B, C]."""
    return (Decision(logits, batch["labels"], batch["row_weights"]),)


def tag_decisions(logits: Float[Array, "B T C"], batch: Batch) -> tuple[Decision, ...]:
    """Tags of the first token of each word: batch["tags"] [B, T], below 0 for all other tokens."""
    tags = batch["tags"]
    return (Decision(logits, jnp.maximum(tags, 0), (tags >= 0) * batch["row_weights"][:, None]),)


def span_decisions(logits: tuple[Float[Array, "B T"], ...], batch: Batch) -> tuple[Decision, ...]:
    """Start and end token of an answer: batch["starts"] and batch["ends"] [B]; padding tokens are excluded."""
    real = batch["attention_mask"] > 0
    return tuple(
        Decision(jnp.where(real, scores, _MASKED_LOGIT), batch[name], batch["row_weights"])
        for scores, name in zip(logits, ("starts", "ends"), strict=True)
    )


# Positions in the pairs of a layer map.
_TEACHER, _STUDENT = 0, 1

# For each kind of task: its logits in a model's output, and its decisions.
_HEADS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any, Batch], tuple[Decision, ...]]]] = {
    "classification": (lambda output: output.logits, text_decisions),
    "choices": (lambda output: output.logits, text_decisions),
    "tags": (lambda output: output.logits, tag_decisions),
    "spans": (lambda output: (output.start_logits, output.end_logits), span_decisions),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teaching:
    """Distillation from a fine-tuned teacher of the same task.

    Attributes:
        structure: `nnx.graphdef` of the teacher, whose parameters are the step's constant; None if the batch holds the
            teacher's logits as "teacher_0", "teacher_1", ..., one for each decision.
        losses: weights of "soft_cross_entropy", "logit_mse" and "hidden_mse", added to the task loss.
        temperature: T of the soft cross-entropy.
        layer_map: (teacher layer, student layer) pairs of hidden_mse.
    """

    structure: nnx.GraphDef | None
    losses: Mapping[str, float]
    temperature: float = 2.0
    layer_map: tuple[tuple[int, int], ...] = ()


def task_objective(
    kind: str,
    problem: Problem = "single_label",
    *,
    class_weights: Sequence[float] | None = None,
    task_weight: float = 1.0,
    teaching: Teaching | None = None,
) -> Objective:
    """Loss of a task: cross-entropy (single_label), binary cross-entropy (multi_label), or squared error (regression).

    The loss is averaged over decisions: for an answer's start and end it is (L_start + L_end) / 2, as in BERT's
    run_squad.py. With a teacher, loss = task_weight * task loss + sum of weight * distillation loss; DistilBERT's
    recipe for SQuAD is 0.5 of each with soft cross-entropy
    (research_projects/distillation/run_squad_w_distillation.py).

    Args:
        kind: "classification", "choices", "tags" or "spans".
        problem: "single_label" (classes exclude each other), "multi_label" or "regression".
        class_weights: weight of the elements of each class; the loss is divided by the sum of weights.
        task_weight: weight of the task loss beside a teacher.
        teaching: distillation from a teacher.

    Raises:
        ValueError: for an unknown kind, soft cross-entropy or class weights if classes do not exclude each other, or
            hidden_mse with only the teacher's logits.
    """
    if kind not in _HEADS:
        raise ValueError(f"there is no kind of task {kind!r}; choose one of {', '.join(_HEADS)}")
    if class_weights is not None and problem != "single_label":
        raise ValueError(f"class weights are for classes that exclude each other, but the problem is {problem}")
    if teaching is not None and teaching.losses.get("soft_cross_entropy") and problem != "single_label":
        raise ValueError(f"soft cross-entropy is for classes that exclude each other; use logit_mse for {problem}")
    if teaching is not None and teaching.structure is None and "hidden_mse" in teaching.losses:
        raise ValueError("hidden_mse needs the teacher itself in the step, not only its logits")
    read, decide = _HEADS[kind]
    task_sums = functools.partial(_task_sums, problem, class_weights)
    names = ("task_loss", "task_accuracy") if problem == "single_label" else ("task_loss",)
    distilled = tuple(f"{name}_loss" for name in (teaching.losses if teaching else {}))

    def sums(model: Any, batch: Batch, key: jax.Array | None, *constants: Any) -> Sums:
        options = _capture(teaching, _STUDENT)
        output = model(**model_inputs(batch), key=key, **options)
        decisions = decide(read(output), batch)
        total = task_sums(decisions)
        if teaching is not None:
            total |= _distillation_sums(teaching, (read, decide), output, decisions, batch, constants)
        return total

    def weights(batch: Batch) -> Sums:
        elements = [_element_weights(labels, weight, class_weights) for labels, weight in _labels(kind, batch)]
        counts = _total([jnp.sum(weight) for _, weight in _labels(kind, batch)])
        divisors = {"task_loss": _total([jnp.sum(each) for each in elements]), "task_accuracy": counts}
        divisors["hidden_mse_loss"] = jnp.sum(token_weights(batch))
        return {name: divisors.get(name, counts) for name in (*names, *distilled)}

    factors = {"task_loss": task_weight}
    factors |= {f"{name}_loss": weight for name, weight in (teaching.losses if teaching else {}).items()}
    return Objective((*names, *distilled), sums, weights, factors)


def read_logits(kind: str, output: Any) -> tuple[Array, ...]:
    """Returns the logits of each decision in a model's output: one array, or an answer's start and end."""
    logits = _HEADS[kind][0](output)
    return logits if isinstance(logits, tuple) else (logits,)


def make_task_eval_step(
    structure: nnx.GraphDef, kind: str, problem: Problem = "single_label"
) -> Callable[[Any, Batch], dict[str, Array]]:
    """Creates a pure function (params, batch) -> {"task_loss", "weight", "logits_0", ...}, without dropout.

    "task_loss" is a sum without class weights, to be divided by the sum of "weight"; "logits_0" (and "logits_1" for
    spans) are the logits of each row, for the metrics.
    """

    def step(params: Any, batch: Batch) -> dict[str, Array]:
        output = with_params(structure, params)(**model_inputs(batch))
        read, decide = _HEADS[kind]
        decisions = decide(read(output), batch)
        logits = {f"logits_{index}": each for index, each in enumerate(read_logits(kind, output))}
        weight = _total([jnp.sum(decision.weights) for decision in decisions])
        return {"task_loss": _task_sums(problem, None, decisions)["task_loss"], "weight": weight, **logits}

    return step


def _total(parts: Sequence[Array]) -> Array:
    return jnp.sum(jnp.stack(parts))


def _labels(kind: str, batch: Batch) -> list[tuple[Array, Array]]:
    """Returns labels and weights of each decision, for which no model is needed."""
    shape = batch["attention_mask"].shape
    placeholders = {"tags": jnp.zeros((*shape, 1)), "spans": (jnp.zeros(shape), jnp.zeros(shape))}
    decisions = _HEADS[kind][1](placeholders.get(kind, jnp.zeros((shape[0], 1))), batch)
    return [(decision.labels, decision.weights) for decision in decisions]


def _element_weights(labels: Array, weights: Array, class_weights: Sequence[float] | None) -> Array:
    return weights if class_weights is None else weights * jnp.asarray(class_weights, jnp.float32)[labels]


def _task_sums(problem: Problem, class_weights: Sequence[float] | None, decisions: tuple[Decision, ...]) -> Sums:
    sums = {}
    sums["task_loss"] = _total(
        [
            weighted_sum(_element_loss(problem, logits, labels), _element_weights(labels, weights, class_weights))
            for logits, labels, weights in decisions
        ]
    )
    if problem == "single_label":
        sums["task_accuracy"] = _total(
            [jnp.sum(weights * (jnp.argmax(logits, axis=-1) == labels)) for logits, labels, weights in decisions]
        )
    return sums


def _element_loss(problem: Problem, logits: Array, labels: Array) -> Array:
    if problem == "single_label":
        return cross_entropy(logits, labels)
    if problem == "regression":
        return jnp.mean((logits - labels) ** 2, axis=-1)
    # log(1 + exp(x)) - x y: the binary cross-entropy of a sigmoid.
    return jnp.mean(jax.nn.softplus(logits) - logits * labels, axis=-1)


def _capture(teaching: Teaching | None, side: int) -> dict[str, Any]:
    """Returns a model's arguments to capture the outputs of the layers in the layer map, for teacher or student."""
    if teaching is None or "hidden_mse" not in teaching.losses:
        return {}
    return {"capture": ("outputs",), "capture_layers": tuple(pair[side] for pair in teaching.layer_map)}


def _distillation_sums(
    teaching: Teaching,
    head: tuple[Callable[[Any], Any], Callable[[Any, Batch], tuple[Decision, ...]]],
    output: Any,
    decisions: tuple[Decision, ...],
    batch: Batch,
    constants: tuple[Any, ...],
) -> Sums:
    read, decide = head
    if teaching.structure is None:
        hidden, logits = [], [batch[f"teacher_{index}"] for index in range(len(decisions))]
        teacher_decisions = decide(tuple(logits) if len(logits) > 1 else logits[0], batch)
    else:
        params = jax.lax.stop_gradient(constants[0])
        teacher = with_params(teaching.structure, params)(**model_inputs(batch), **_capture(teaching, _TEACHER))
        hidden, teacher_decisions = teacher.captured.get("outputs", []), decide(read(teacher), batch)
    losses = {
        "soft_cross_entropy": functools.partial(distillation_kl, temperature=teaching.temperature),
        "logit_mse": logit_squared_error,
    }
    sums = {
        f"{name}_loss": _total(
            [
                weighted_sum(loss(student.logits, taught.logits), student.weights)
                for student, taught in zip(decisions, teacher_decisions, strict=True)
            ]
        )
        for name, loss in losses.items()
        if name in teaching.losses
    }
    if "hidden_mse" in teaching.losses:
        errors = map(mean_squared_error, output.captured["outputs"], hidden)
        sums["hidden_mse_loss"] = _total([weighted_sum(error, token_weights(batch)) for error in errors])
    return sums
