"""The likely cause of a run that is no better than guessing, read from its training curve, and the cure for it."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from train.tasks.examples import Kind, Problem
from train.tasks.rows import Row

# For large ALBERT models: google-research/google-research#151 (xlarge: 5e-6), huggingface/transformers#2104, and the
# README of google-research/albert, which halves the learning rate for RACE with the version 2 models. For all models
# like BERT: Mosbach et al. 2021 (arXiv:2006.04884).
CURE_OF_DIVERGENCE = (
    "The published cure is a lower learning rate (half of it or less) and a longer warm-up (10% of the steps or more); "
    "then other seeds."
)
CURE_OF_UNDERFITTING = "Train for more steps (epochs), or with a higher learning rate."
# Three epochs over 1,000 examples in batches of 32 are 96 steps, which Zhang et al. 2021 (arXiv:2006.05987, section 6)
# find too few.
_FEW_STEPS = 100
# A mean loss has to change by this share of the loss of a constant prediction to count as a change.
_NOTICEABLE = 0.1
# An untrained head starts near the loss of equal probabilities; a peak of this multiple was made by the training.
_PEAK = 1.5
_GRADIENT_CHANGE = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """The training rows of a run.

    Attributes:
        steps: the number of steps.
        losses: the mean loss of each row; NaN if it was not finite.
        gradient_norms: the gradient norm of each row's step.
    """

    steps: int
    losses: tuple[float, ...]
    gradient_norms: tuple[float, ...]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> "Curve":
        """Reads the rows of metrics.jsonl, in which null stands for NaN."""

        def number(value: float | None) -> float:
            return math.nan if value is None else value

        kept = [row for row in rows if row["split"] == "train"]
        return cls(
            steps=max((row["step"] for row in kept), default=0),
            losses=tuple(number(row.get("loss_mean", row.get("loss"))) for row in kept),
            gradient_norms=tuple(number(row.get("grad_norm")) for row in kept),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceLosses:
    """Training losses to compare a curve with.

    Attributes:
        constant: the loss of the best constant prediction: the entropy of the classes, or the variance of the numbers.
        initial: the loss of logits of zero, near which an untrained head starts.
    """

    constant: float
    initial: float


def reference_losses(
    kind: Kind, problem: Problem, rows: Sequence[Row], num_classes: int, *, balanced: bool = False
) -> ReferenceLosses | None:
    """Computes the reference losses from the labels of the training rows; None for spans and sentences.

    Args:
        kind: the kind of the examples.
        problem: the kind of label.
        rows: the training rows.
        num_classes: the number of labels or choices.
        balanced: whether the loss weights the classes equally.
    """
    if kind not in ("classification", "choices", "tags") or not rows:
        return None
    if kind == "tags":
        labels = np.concatenate([row.labels["tags"] for row in rows])
        labels = labels[labels >= 0]
    else:
        labels = np.stack([row.labels["labels"] for row in rows])
    if problem == "regression":
        return ReferenceLosses(constant=float(np.var(labels)), initial=float(np.mean(np.square(labels))))
    if problem == "multi_label":
        p = labels.mean(axis=0, dtype=np.float64)
        return ReferenceLosses(constant=float(np.mean([_entropy((each, 1 - each)) for each in p])), initial=math.log(2))
    counts = np.bincount(labels, minlength=num_classes)
    shares = (counts > 0) / (counts > 0).sum() if balanced else counts / counts.sum()
    return ReferenceLosses(constant=_entropy(shares), initial=math.log(num_classes))


def diagnose(curve: Curve, reference: ReferenceLosses | None = None) -> str:
    """Returns why a run may be no better than guessing, with the cure; only what its curve supports.

    Divergence: the loss rose again or peaked above that of an untrained head, or the gradient norm grew or vanished.
    Underfitting: the loss is still near that of a constant prediction, or there were few steps.
    """
    few = f"{curve.steps} steps are few. " if curve.steps < _FEW_STEPS else ""
    losses = curve.losses
    if not all(map(math.isfinite, losses)):
        return f"Training diverged: the loss was not finite. {CURE_OF_DIVERGENCE}"
    if not losses:
        return f"{few}{CURE_OF_UNDERFITTING}" if few else ""
    constant = losses[0] if reference is None else reference.constant
    initial = losses[0] if reference is None else max(reference.initial, constant)
    last = statistics.fmean(_quarters(losses)[-1])
    if divergence := _divergence(curve, last, constant, initial):
        return f"Training diverged: {divergence}. {CURE_OF_DIVERGENCE}"
    near = "where it began" if reference is None else "that of a constant prediction"
    if last > (1 - _NOTICEABLE) * constant:
        told = f"the training loss, {last:.3g}, is still near {near}, {constant:.3g}"
        return f"Underfitting: {told}. {few}{CURE_OF_UNDERFITTING}"
    fell = f"the training loss fell to {last:.3g} from {near}, {constant:.3g}"
    if few:
        return f"Underfitting: {fell}, but {few}Train for more steps (epochs)."
    return (
        f"Not underfitting: {fell}, so the model learns from the training examples what does not hold for the held-out "
        "ones. Check that both sets have the same labels, and use more examples."
    )


def _divergence(curve: Curve, last: float, constant: float, initial: float) -> str:
    """Returns the signs of divergence in words; "" if there are none."""
    losses = curve.losses
    lowest = min(statistics.fmean(part) for part in _quarters(losses))
    if last - lowest > _NOTICEABLE * constant:
        return f"the training loss rose from {lowest:.3g} to {last:.3g}"
    if max(losses) > _PEAK * initial and last > (1 - _NOTICEABLE) * constant:
        return f"the training loss peaked at {max(losses):.3g} and ended at {last:.3g}"
    norms = [norm for norm in curve.gradient_norms if math.isfinite(norm)]
    if len(norms) < 2:
        return ""
    begin, end = (statistics.median(_quarters(norms)[at]) for at in (0, -1))
    if end > _GRADIENT_CHANGE * begin:
        return f"the gradient norm grew from {begin:.3g} to {end:.3g}"
    if end * _GRADIENT_CHANGE < begin and last > (1 - _NOTICEABLE) * constant:
        return f"the gradients vanished (norm {begin:.3g}, then {end:.3g}) at a loss of {last:.3g}"
    return ""


def _quarters(values: Sequence[float]) -> list[list[float]]:
    """Splits a sequence into four parts; into fewer if it is shorter."""
    return [part.tolist() for part in np.array_split(np.asarray(values, np.float64), min(4, len(values)))]


def _entropy(shares: Iterable[float]) -> float:
    return -sum(float(p) * math.log(p) for p in shares if p > 0)
