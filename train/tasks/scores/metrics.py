"""Metrics by name, the metrics that each task reports, and its headline metric.

Metrics are shares (0 to 1) or correlations (-1 to 1), or NaN if they are undefined for the references. A prediction and
its reference are the index of a label; a number (regression); a 0 or 1 for each label (multi_label); or an index for
each word (tags).
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from train.tasks.examples import Kind, Problem

_CORRELATIONS = ("matthews", "pearson", "spearman")
# The value of precision, recall and F1 if nothing was predicted. (scikit-learn's annotation only allows its default.)
_ZERO_DIVISION: Any = 0.0

# A function of predictions, references and the names of the labels.
_Metric = Callable[[Sequence[Any], Sequence[Any], Sequence[str]], float]


@dataclasses.dataclass(frozen=True, slots=True)
class TaskMetrics:
    """The metrics that a task reports.

    Attributes:
        names: the names of the metrics.
        headline: the metric that selects the best checkpoint; "mean" is the mean of `names`, which GLUE reports for a
            task with two metrics.
    """

    names: tuple[str, ...]
    headline: str


@dataclasses.dataclass(frozen=True, slots=True)
class Scores:
    """Scores of predictions.

    Attributes:
        values: the values of the metrics, including "mean" if it is the headline; NaN if a metric is undefined for the
            references.
        notes: remarks about undefined metrics.
    """

    values: Mapping[str, float]
    notes: tuple[str, ...] = ()


ACCURACY = TaskMetrics(("accuracy",), "accuracy")
ACCURACY_AND_F1 = TaskMetrics(("accuracy", "f1"), "mean")
MATTHEWS = TaskMetrics(("matthews",), "matthews")
# The model is selected by MNLI's metric, accuracy; for the diagnostic set, the benchmark reports Matthews' correlation.
ACCURACY_AND_MATTHEWS = TaskMetrics(("accuracy", "matthews"), "accuracy")
CORRELATIONS = TaskMetrics(("pearson", "spearman"), "mean")
ENTITIES = TaskMetrics(("entity_precision", "entity_recall", "entity_f1"), "entity_f1")
MULTI_LABEL = TaskMetrics(("micro_f1", "macro_f1"), "micro_f1")

_OF_TASK = {
    "cola": MATTHEWS,
    "ax": ACCURACY_AND_MATTHEWS,
    "mrpc": ACCURACY_AND_F1,
    "qqp": ACCURACY_AND_F1,
    "stsb": CORRELATIONS,
}


def metrics_of(kind: Kind, problem: Problem = "single_label", task: str | None = None) -> TaskMetrics:
    """Returns the metrics of a task: those of its benchmark, or else those for its kind and problem.

    Args:
        kind: the kind of its examples; not "spans", which has SQuAD's metrics.
        problem: the kind of label of a text.
        task: the name of the benchmark's task; None for other data.

    Raises:
        ValueError: for "spans".
    """
    if task in _OF_TASK:
        return _OF_TASK[task]
    if kind == "spans":
        raise ValueError("spans are scored by train.tasks.scores.squad_metric")
    if kind == "tags":
        return ENTITIES
    return {"single_label": ACCURACY, "multi_label": MULTI_LABEL, "regression": CORRELATIONS}[problem]


def score(
    reported: TaskMetrics, predictions: Sequence[Any], references: Sequence[Any], labels: Sequence[str] = ()
) -> Scores:
    """Scores predictions.

    Args:
        reported: the metrics to compute.
        predictions: one prediction per example.
        references: the labels, in the same order.
        labels: names of the labels; for tags, BIO tags, which define the entities.

    Raises:
        ValueError: if a metric is unknown, there are no examples, an example has no label, the number of predictions
            differs, or a prediction is not finite.
    """
    if not len(predictions) == len(references) > 0:
        raise ValueError(
            f"{len(predictions)} predictions for {len(references)} references: expected the same number, at least 1"
        )
    if any(reference is None for reference in references):
        raise ValueError("an example without a label cannot be scored")
    if any(isinstance(one, float) and not math.isfinite(one) for one in predictions):
        raise ValueError("a prediction is not finite")
    if unknown := [name for name in reported.names if name not in _METRICS]:
        raise ValueError(f"unknown metric {unknown[0]!r}, expected one of {', '.join(_METRICS)}")
    missing = {name: _missing(name, references, labels) for name in reported.names}
    values = {
        name: math.nan if missing[name] else _METRICS[name](predictions, references, labels) for name in reported.names
    }
    if reported.headline == "mean":
        values["mean"] = sum(values.values()) / len(values)
    return Scores(values, _notes(missing, predictions))


def format_scores(scores: Mapping[str, float]) -> str:
    """Formats scores in one line for the log."""
    values = {name: "not defined" if math.isnan(value) else f"{value:.4f}" for name, value in scores.items()}
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _missing(name: str, references: Sequence[Any], labels: Sequence[str]) -> str:
    """Returns why a metric is undefined for the references; "" if it is defined."""
    if name in _CORRELATIONS:
        return "All references are equal" if _constant(references) else ""
    if name == "f1":
        return "" if 1 in references else "No reference is positive"
    if name in ("micro_f1", "macro_f1"):
        return "" if np.any(references) else "No reference has a label"
    if name.startswith("entity_"):
        found = any(labels[tag] != "O" for tags in references for tag in tags)
        return "" if found else "No reference has an entity"
    return ""


def _notes(missing: Mapping[str, str], predictions: Sequence[Any]) -> tuple[str, ...]:
    reasons: dict[str, list[str]] = {}
    for name, reason in missing.items():
        if reason:
            reasons.setdefault(f"{reason}: {{}} not defined, and ignored.", []).append(name)
        elif name in _CORRELATIONS and _constant(predictions):
            reasons.setdefault("All predictions are equal: {} not defined, counted as 0.", []).append(name)
    verbs = {True: "is", False: "are"}
    return tuple(note.format(f"{', '.join(names)} {verbs[len(names) == 1]}") for note, names in reasons.items())


def _constant(values: Sequence[Any]) -> bool:
    return bool(np.ptp(np.asarray(values, np.float64)) == 0)


def _accuracy(predictions: Sequence[Any], references: Sequence[Any], labels: Sequence[str]) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(references, predictions))


def _f1(predictions: Sequence[Any], references: Sequence[Any], labels: Sequence[str]) -> float:
    """F1 of label 1: the pairs with the same meaning in MRPC and QQP."""
    from sklearn.metrics import f1_score

    return float(f1_score(references, predictions, pos_label=1, average="binary", zero_division=_ZERO_DIVISION))


def _matthews(predictions: Sequence[Any], references: Sequence[Any], labels: Sequence[str]) -> float:
    from sklearn.metrics import matthews_corrcoef

    if _constant(predictions):
        return 0.0
    return float(matthews_corrcoef(references, predictions))


def _multi_label_f1(average: str) -> _Metric:
    def f1(predictions: Sequence[Any], references: Sequence[Any], labels: Sequence[str]) -> float:
        from sklearn.metrics import f1_score

        arrays = np.asarray(references, np.int64), np.asarray(predictions, np.int64)
        return float(f1_score(*arrays, average=average, zero_division=_ZERO_DIVISION))

    return f1


def _correlation(name: str) -> _Metric:
    """A correlation of scipy.stats, by name, because importing scipy.stats takes more than a second."""

    def correlation(predictions: Sequence[Any], references: Sequence[Any], labels: Sequence[str]) -> float:
        from scipy import stats

        if _constant(predictions):
            return 0.0
        with warnings.catch_warnings():
            # Nearly constant predictions of a model that has learned nothing: any value will do.
            warnings.simplefilter("ignore", stats.NearConstantInputWarning)
            return float(getattr(stats, name)(predictions, references).statistic)

    return correlation


def _entities(name: str) -> _Metric:
    """A seqeval metric of entities with the right first word, last word and type, as conlleval counts them."""

    def metric(predictions: Sequence[Any], references: Sequence[Any], labels: Sequence[str]) -> float:
        from seqeval import metrics

        named = [[[labels[tag] for tag in sentence] for sentence in tags] for tags in (references, predictions)]
        return float(getattr(metrics, name)(*named, average="micro", zero_division=_ZERO_DIVISION))

    return metric


_METRICS: dict[str, _Metric] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews": _matthews,
    "pearson": _correlation("pearsonr"),
    "spearman": _correlation("spearmanr"),
    "entity_precision": _entities("precision_score"),
    "entity_recall": _entities("recall_score"),
    "entity_f1": _entities("f1_score"),
    "micro_f1": _multi_label_f1("micro"),
    "macro_f1": _multi_label_f1("macro"),
}
