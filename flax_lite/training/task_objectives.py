"""What fine-tuning optimizes: decisions of a task's head against labels, and against a teacher of the same task."""

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

# What a padding token's logit is replaced by: exp of it is 0, and differences of it are no NaN.
_NOWHERE = -1e9


class Decision(NamedTuple):
    """A choice that a head makes for each element, classes on the last axis.

    Attributes:
        logits: scores of the C classes; of other problems than single_label, C numbers.
        labels: index of the right class; of other problems, C numbers.
        weights: 0 where an element is padding.
    """

    logits: Float[Array, "*axes C"]
    labels: Int[Array, "*axes"] | Float[Array, "*axes C"]
    weights: Float[Array, "*axes"]


def text_decisions(logits: Float[Array, "B C"], batch: Batch) -> tuple[Decision, ...]:
    """A text's label, or of several choices the right one: batch["labels"], [B] or [B, C]."""
    return (Decision(logits, batch["labels"], batch["row_weights"]),)


def tag_decisions(logits: Float[Array, "B T C"], batch: Batch) -> tuple[Decision, ...]:
    """A tag for each token at which a word begins: batch["tags"] [B, T], below 0 at all others."""
    tags = batch["tags"]
    return (Decision(logits, jnp.maximum(tags, 0), (tags >= 0) * batch["row_weights"][:, None]),)


def span_decisions(logits: tuple[Float[Array, "B T"], ...], batch: Batch) -> tuple[Decision, ...]:
    """The tokens at which an answer starts and ends: batch["starts"] and batch["ends"] [B]; padding is no token."""
    real = batch["attention_mask"] > 0
    return tuple(
        Decision(jnp.where(real, scores, _NOWHERE), batch[name], batch["row_weights"])
        for scores, name in zip(logits, ("starts", "ends"), strict=True)
    )


# By the kind of a task: what of a model's output decides, and how.
_HEADS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any, Batch], tuple[Decision, ...]]]] = {
    "classification": (lambda output: output.logits, text_decisions),
    "choices": (lambda output: output.logits, text_decisions),
    "tags": (lambda output: output.logits, tag_decisions),
    "spans": (lambda output: (output.start_logits, output.end_logits), span_decisions),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teaching:
    """How a fine-tuned teacher of the same task takes part.

    Attributes:
        structure: of the teacher, whose parameters the step gets as its constant; None where the batch holds its
            logits, as "teacher_0", "teacher_1", ... for each decision.
        losses: weights of "soft_cross_entropy", "logit_mse" and "hidden_mse" beside the task's own loss.
        temperature: T of the soft cross-entropy.
        layer_map: (teacher's layer, student's) of hidden_mse.
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
    """The loss of a task: cross-entropy (single_label), binary cross-entropy over labels (multi_label), squared error.

    Each is averaged over decisions: of an answer's start and end that is (L_start + L_end) / 2, as in BERT's
    run_squad.py. With a teacher, loss = task_weight * task + sum of its losses times their weights: 0.5 and 0.5 of soft
    cross-entropy are DistilBERT's recipe on SQuAD (research_projects/distillation/run_squad_w_distillation.py).

    Args:
        kind: "classification", "choices", "tags" or "spans".
        problem: how labels exclude each other.
        class_weights: weight of each class's elements; the loss is divided by the sum of weights.
        task_weight: weight of the labels beside a teacher.
        teaching: how a teacher takes part.

    Raises:
        ValueError: for an unknown kind, a soft cross-entropy or class weights where classes do not exclude each other,
            or hidden_mse with nothing but a teacher's logits.
    """
    if kind not in _HEADS:
        raise ValueError(f"there is no kind of task {kind!r}; there are {', '.join(_HEADS)}")
    if class_weights is not None and problem != "single_label":
        raise ValueError(f"class weights are for classes that exclude each other, and this is {problem}")
    if teaching is not None and teaching.losses.get("soft_cross_entropy") and problem != "single_label":
        raise ValueError(f"soft cross-entropy is for classes that exclude each other; take logit_mse for {problem}")
    if teaching is not None and teaching.structure is None and "hidden_mse" in teaching.losses:
        raise ValueError("hidden_mse needs the teacher itself in the step, not its logits alone")
    read, decide = _HEADS[kind]
    own = functools.partial(_own_sums, problem, class_weights)
    names = ("task_loss", "task_accuracy") if problem == "single_label" else ("task_loss",)
    taught = tuple(f"{name}_loss" for name in (teaching.losses if teaching else {}))

    def sums(model: Any, batch: Batch, key: jax.Array | None, *constants: Any) -> Sums:
        options = _capture(teaching, 1)
        output = model(**model_inputs(batch), key=key, **options)
        decisions = decide(read(output), batch)
        total = own(decisions)
        if teaching is not None:
            total |= _teaching_sums(teaching, (read, decide), output, decisions, batch, constants)
        return total

    def weights(batch: Batch) -> Sums:
        elements = [_element_weights(labels, weight, class_weights) for labels, weight in _labels(kind, batch)]
        counts = _total([jnp.sum(weight) for _, weight in _labels(kind, batch)])
        divisors = {"task_loss": _total([jnp.sum(each) for each in elements]), "task_accuracy": counts}
        divisors["hidden_mse_loss"] = jnp.sum(token_weights(batch))
        return {name: divisors.get(name, counts) for name in (*names, *taught)}

    factors = {"task_loss": task_weight}
    factors |= {f"{name}_loss": weight for name, weight in (teaching.losses if teaching else {}).items()}
    return Objective((*names, *taught), sums, weights, factors)


def read_logits(kind: str, output: Any) -> tuple[Array, ...]:
    """The logits of each decision in a model's output: one array, or an answer's start and end."""
    logits = _HEADS[kind][0](output)
    return logits if isinstance(logits, tuple) else (logits,)


def make_task_eval_step(
    structure: nnx.GraphDef, kind: str, problem: Problem = "single_label"
) -> Callable[[Any, Batch], dict[str, Array]]:
    """A pure function (params, batch) -> what is kept of a batch, without dropout.

    "task_loss" is a sum, to be divided by the sum of "weight", class weights left out; "logits_0" (and "logits_1") are
    those of each row, for the metrics.
    """

    def step(params: Any, batch: Batch) -> dict[str, Array]:
        output = with_params(structure, params)(**model_inputs(batch))
        read, decide = _HEADS[kind]
        decisions = decide(read(output), batch)
        logits = {f"logits_{index}": each for index, each in enumerate(read_logits(kind, output))}
        weight = _total([jnp.sum(decision.weights) for decision in decisions])
        return {"task_loss": _own_sums(problem, None, decisions)["task_loss"], "weight": weight, **logits}

    return step


def _total(parts: Sequence[Array]) -> Array:
    return jnp.sum(jnp.stack(parts))


def _labels(kind: str, batch: Batch) -> list[tuple[Array, Array]]:
    """Labels and weights of each decision, which do not need a model."""
    shape = batch["attention_mask"].shape
    nothing = {"tags": jnp.zeros((*shape, 1)), "spans": (jnp.zeros(shape), jnp.zeros(shape))}
    decisions = _HEADS[kind][1](nothing.get(kind, jnp.zeros((shape[0], 1))), batch)
    return [(decision.labels, decision.weights) for decision in decisions]


def _element_weights(labels: Array, weights: Array, class_weights: Sequence[float] | None) -> Array:
    return weights if class_weights is None else weights * jnp.asarray(class_weights, jnp.float32)[labels]


def _own_sums(problem: Problem, class_weights: Sequence[float] | None, decisions: tuple[Decision, ...]) -> Sums:
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


def _capture(teaching: Teaching | None, whose: int) -> dict[str, Any]:
    """What a model is asked for: the outputs of the layers that the layer map names (0: the teacher's, 1: ours)."""
    if teaching is None or "hidden_mse" not in teaching.losses:
        return {}
    return {"capture": ("outputs",), "capture_layers": tuple(pair[whose] for pair in teaching.layer_map)}


def _teaching_sums(
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
        theirs = decide(tuple(logits) if len(logits) > 1 else logits[0], batch)
    else:
        params = jax.lax.stop_gradient(constants[0])
        teacher = with_params(teaching.structure, params)(**model_inputs(batch), **_capture(teaching, 0))
        hidden, theirs = teacher.captured.get("outputs", []), decide(read(teacher), batch)
    losses = {
        "soft_cross_entropy": functools.partial(distillation_kl, temperature=teaching.temperature),
        "logit_mse": logit_squared_error,
    }
    sums = {
        f"{name}_loss": _total(
            [
                weighted_sum(loss(own.logits, their.logits), own.weights)
                for own, their in zip(decisions, theirs, strict=True)
            ]
        )
        for name, loss in losses.items()
        if name in teaching.losses
    }
    if "hidden_mse" in teaching.losses:
        errors = map(mean_squared_error, output.captured["outputs"], hidden)
        sums["hidden_mse_loss"] = _total([weighted_sum(error, token_weights(batch)) for error in errors])
    return sums
