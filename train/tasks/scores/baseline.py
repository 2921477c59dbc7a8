"""Constant predictions to compare a model with, and whether it is better; after a failed training run it is not."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from train.tasks.examples import Example, Prediction, SpanExample, TagExample, TaskData
from train.tasks.scores.metrics import Scores, TaskMetrics

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
        guessing: whether the score is NaN, or at most the baseline plus one standard error, or the model predicts the
            same for every example; False if guessing has no score.
        message: the verdict in words.
    """

    score: float
    baseline: float
    standard_error: float
    guessing: bool
    message: str


def guess(data: TaskData, examples: Sequence[Example]) -> list[list[Any]]:
    """Returns constant predictions for all examples: that of the training set, and that of the examples if it differs.

    The prediction is the most frequent label or choice (the first of equals); for several labels, those that more than
    half of the set has, often none; for regression, the mean; for tags, O for every word; for spans, no answer ("").
    A model that learned only to repeat one label may have chosen either, so that the better one counts.

    Args:
        data: the task.
        examples: the examples to predict.

    Raises:
        ValueError: if neither has labels.
    """
    if data.kind == "spans":
        return [[""] * len(examples)]
    if data.kind == "tags":
        outside = data.labels.index("O")
        return [[(outside,) * len(e.words) for e in examples if isinstance(e, TagExample)]]
    known = [labels for labels in (_labels(data.train), _labels(examples)) if labels]
    if not known:
        raise ValueError("neither the training set nor the examples have labels to guess from")
    constants = dict.fromkeys(_constant_prediction(data, labels) for labels in known)
    return [[constant] * len(examples) for constant in constants]


def describe_constant(data: TaskData, examples: Sequence[Example], predictions: Sequence[Prediction]) -> str:
    """Returns a sentence if all predictions are the same although the examples are not; "" otherwise."""
    if data.kind == "tags":
        found = {tag for prediction in predictions for tag in prediction.value}
        expected = {tag for e in examples if isinstance(e, TagExample) for tag in e.tags or ()}
    elif data.kind == "spans":
        found = {prediction.value for prediction in predictions}
        expected = {e.answers for e in examples if isinstance(e, SpanExample)}
    else:
        found, expected = {prediction.value for prediction in predictions}, set(_labels(examples))
    if len(found) != 1 or len(expected) < 2:
        return ""
    (value,) = found
    if isinstance(value, int) and data.labels and data.problem == "single_label":
        value = data.labels[value]
    return f"the model predicts {value!r} for every {'word' if data.kind == 'tags' else 'example'}"


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


def judge(reported: TaskMetrics, scores: Scores, guessed: Scores, num_examples: int, constant: str = "") -> Verdict:
    """Compares the headline metric of a model with that of guessing.

    The standard error of "mean" is the mean of the standard errors of its metrics, which are correlated.

    Args:
        reported: the metrics of the task.
        scores: the scores of the model.
        guessed: the scores of `baseline` on the same examples.
        num_examples: the number of examples.
        constant: a sentence that the model predicts the same for every example; "" if it does not.
    """
    names = reported.names if reported.headline == "mean" else (reported.headline,)
    errors = [standard_error(name, guessed.values[name], num_examples) for name in names]
    return verdict(
        reported.headline,
        scores.values[reported.headline],
        guessed.values[reported.headline],
        sum(errors) / len(errors),
        constant,
    )


def verdict(metric: str, value: float, guessed: float, error: float, constant: str = "") -> Verdict:
    """Compares a score with the score of guessing and its standard error, all on the same scale."""
    if math.isnan(guessed):
        message = f"not compared with guessing: {metric} is not defined on these examples"
        return Verdict(score=value, baseline=guessed, standard_error=error, guessing=False, message=message)
    guessing = not value > guessed + error or bool(constant)  # True for NaN
    compared = f"{metric} {value:.4f}, guessing {guessed:.4f} with a standard error of {error:.4f}"
    message = f"{'no ' * guessing}better than guessing ({compared}){f': {constant}' if constant else ''}"
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
