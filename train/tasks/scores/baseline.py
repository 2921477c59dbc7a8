"""The score of a constant prediction, and whether a model is better; after a failed training run it is not."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from train.tasks.examples import Example, SpanExample, TagExample, TaskData
from train.tasks.scores.metrics import Scores, TaskMetrics, score

# For large ALBERT models: google-research/google-research#151 (xlarge: 5e-6), huggingface/transformers#2104, and the
# README of google-research/albert, which halves the learning rate for RACE with the version 2 models. For all models
# like BERT: Mosbach et al. 2021 (arXiv:2006.04884).
CURE = (
    "The published cure is a lower learning rate (half of it or less) and a longer warm-up (10% of the steps or more); "
    "then other seeds."
)
_PROPORTIONS = (
    "accuracy",
    "f1",
    "micro_f1",
    "macro_f1",
    "entity_precision",
    "entity_recall",
    "entity_f1",
    "exact_match",
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether a score is better than guessing.

    Attributes:
        score: the score of the model.
        baseline: the score of guessing.
        standard_error: the standard error of the baseline.
        guessing: whether the score is NaN, or at most the baseline plus one standard error; False if guessing has no
            score.
        message: the verdict in words, with the cure if the model is guessing.
    """

    score: float
    baseline: float
    standard_error: float
    guessing: bool
    message: str


def guess(data: TaskData, examples: Sequence[Example]) -> list[Any]:
    """Predicts every example without looking at it.

    The prediction is the most frequent label or choice of the training set (the first of equals); for several labels,
    those that more than half of the training set has, often none; for regression, the mean; for tags, O for every word;
    for spans, no answer ("").

    Args:
        data: the task; if its training set has no labels, those of the examples are counted.
        examples: the examples to predict.

    Raises:
        ValueError: if neither has labels.
    """
    if data.kind == "spans":
        return [""] * len(examples)
    if data.kind == "tags":
        outside = data.labels.index("O")
        return [(outside,) * len(e.words) for e in examples if isinstance(e, TagExample)]
    known = _labels(data.train) or _labels(examples)
    if not known:
        raise ValueError("neither the training set nor the examples have labels to guess from")
    return [_constant_prediction(data, known)] * len(examples)


def baseline(data: TaskData, examples: Sequence[Example], reported: TaskMetrics) -> Scores:
    """Scores `guess` with the metrics of the task, except for spans, which have SQuAD's metrics.

    Raises:
        ValueError: as `guess` and `score`.
    """
    references = [e.tags if isinstance(e, TagExample) else e.label for e in examples if not isinstance(e, SpanExample)]
    return score(reported, guess(data, examples), references, data.labels)


def standard_error(metric: str, value: float, num_examples: int) -> float:
    """Computes the standard error of the score of guessing.

    It is sqrt(p (1 - p) / n) for a share p of n examples, which is only approximate for F1, and 1 / sqrt(n - 1) for a
    correlation of zero (Matthews' correlation is Pearson's of two classes).

    Args:
        metric: the name of the metric.
        value: the score of guessing.
        num_examples: n, at least 1.

    Raises:
        ValueError: if the metric is unknown.
    """
    if metric in _PROPORTIONS:
        return math.sqrt(value * (1.0 - value) / num_examples)
    if metric in ("matthews", "pearson", "spearman"):
        return 1.0 / math.sqrt(max(num_examples - 1, 1))
    raise ValueError(f"the standard error of {metric!r} is not known")


def judge(reported: TaskMetrics, scores: Scores, guessed: Scores, num_examples: int) -> Verdict:
    """Compares the headline metric of a model with that of guessing.

    The standard error of "mean" is the mean of the standard errors of its metrics, which are correlated.

    Args:
        reported: the metrics of the task.
        scores: the scores of the model.
        guessed: the scores of `baseline` on the same examples.
        num_examples: the number of examples.
    """
    names = reported.names if reported.headline == "mean" else (reported.headline,)
    errors = [standard_error(name, guessed.values[name], num_examples) for name in names]
    return verdict(
        reported.headline,
        scores.values[reported.headline],
        guessed.values[reported.headline],
        sum(errors) / len(errors),
    )


def verdict(metric: str, value: float, guessed: float, error: float) -> Verdict:
    """Compares a score with the score of guessing and its standard error, all on the same scale."""
    if math.isnan(guessed):
        message = f"not compared with guessing: {metric} is not defined on these examples"
        return Verdict(score=value, baseline=guessed, standard_error=error, guessing=False, message=message)
    guessing = not value > guessed + error  # True for NaN
    compared = f"{metric} {value:.4f}, guessing {guessed:.4f} with a standard error of {error:.4f}"
    message = f"no better than guessing ({compared}). {CURE}" if guessing else f"better than guessing ({compared})"
    return Verdict(score=value, baseline=guessed, standard_error=error, guessing=guessing, message=message)


def _labels(examples: Sequence[Example]) -> list[Any]:
    found = (e.label for e in examples if not isinstance(e, (SpanExample, TagExample)))
    return [label for label in found if label is not None]


def _constant_prediction(data: TaskData, known: list[Any]) -> Any:
    if data.problem == "regression":
        return sum(known) / len(known)
    if data.problem == "multi_label":
        return tuple(float(2 * sum(column) > len(known)) for column in zip(*known, strict=True))
    return min(collections.Counter(known).items(), key=lambda item: (-item[1], item[0]))[0]
