"""Scores of each class, confusion matrix and calibration of predictions, which are written to report.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from train.tasks.examples import Prediction, TaskData

# As many as in Guo et al. 2017 (arXiv:1706.04599).
_BINS = 15
# The value of precision, recall and F1 if nothing was predicted. (scikit-learn's annotation only allows its default.)
_ZERO_DIVISION: Any = 0.0


def class_report(data: TaskData, examples: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Reports on predictions of labeled examples of a classification, tagging or choices.

    Returns:
        "classes": precision, recall, f1 and support of each class; for tags, of each type of entity, as seqeval's
        classification_report; with averages over them. "confusion_matrix": counts, a row for each class of the
        references and a column for each predicted class. "calibration": see `calibration`. Entries that a task does not
        have are missing; {} for regression, spans and sentences.
    """
    values = [prediction.value for prediction in predictions]
    if data.kind == "tags":
        return _tag_report(data, examples, predictions)
    if data.kind not in ("classification", "choices") or data.problem == "regression":
        return {}
    references = [example.label for example in examples]
    found: dict[str, Any] = {}
    if data.kind == "classification":
        found |= _classes(data, references, values)
    if data.problem == "single_label" and all(prediction.probabilities for prediction in predictions):
        confidences = [max(prediction.probabilities or (0.0,)) for prediction in predictions]
        found["calibration"] = calibration(confidences, np.equal(references, values))
    return found


def calibration(confidences: Sequence[float], correct: Sequence[bool] | np.ndarray) -> dict[str, Any]:
    """Computes the expected calibration error, sum_b n_b / n |accuracy_b - confidence_b|, over 15 bins of equal width.

    Args:
        confidences: the probability of each predicted class.
        correct: whether each prediction is right.

    Returns:
        "expected_calibration_error", and "bins": count, mean confidence and accuracy of the predictions with a
        confidence above "from" up to "to"; bins without predictions are left out.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv:1706.04599), equation 3.
    """
    p, right = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    number = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, _BINS - 1)
    bins = []
    for at in range(_BINS):
        inside = number == at
        if inside.any():
            means = {"confidence": float(p[inside].mean()), "accuracy": float(right[inside].mean())}
            bins.append({"from": float(edges[at]), "to": float(edges[at + 1]), "count": int(inside.sum()), **means})
    error = sum(each["count"] * abs(each["accuracy"] - each["confidence"]) for each in bins) / len(p)
    return {"expected_calibration_error": error, "bins": bins}


def _classes(data: TaskData, references: Sequence[Any], values: Sequence[Any]) -> dict[str, Any]:
    from sklearn.metrics import classification_report, confusion_matrix

    indices = list(range(len(data.labels)))
    arrays = np.asarray(references, np.int64), np.asarray(values, np.int64)
    found: Any = classification_report(
        *arrays,
        labels=indices,
        target_names=[str(index) for index in indices],  # a label may have the name of an average
        output_dict=True,
        zero_division=_ZERO_DIVISION,
    )
    report = _split_averages(found, {str(index): label for index, label in enumerate(data.labels)})
    if data.problem == "single_label":
        report["labels"] = list(data.labels)
        report["confusion_matrix"] = confusion_matrix(*arrays, labels=indices).tolist()
    return report


def _tag_report(data: TaskData, examples: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, Any]:
    from seqeval.metrics import classification_report

    references = [example.tags for example in examples]
    values = [prediction.value for prediction in predictions]
    expected, predicted = ([[data.labels[tag] for tag in tags] for tags in each] for each in (references, values))
    types = sorted({name[2:] for tags in (*expected, *predicted) for name in tags if name != "O"})
    report: dict[str, Any] = {}
    if types:  # seqeval fails without entities
        found: Any = classification_report(expected, predicted, output_dict=True, zero_division=_ZERO_DIVISION)
        report = _split_averages(found, {name: name for name in types})
    if all(prediction.probabilities for prediction in predictions):
        confidences = np.concatenate([prediction.probabilities or () for prediction in predictions])
        report["calibration"] = calibration(confidences.tolist(), np.concatenate(references) == np.concatenate(values))
    return report


def _split_averages(found: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Separates the classes, {key: name}, from their averages; the scores are precision, recall, f1 and support."""

    def plain(scores: dict[str, Any]) -> dict[str, float | int]:
        kept = {key.removesuffix("-score"): value for key, value in scores.items()}
        return {key: int(value) if key == "support" else float(value) for key, value in kept.items()}

    averages = {name: plain(each) for name, each in found.items() if name.endswith(" avg") and name not in names}
    return {"classes": {name: plain(found[key]) for key, name in names.items() if key in found}, "averages": averages}
