"""What predictions are scored by, with the libraries of the field; a task's data says which of them.

Every score is a fraction, correlations from -1 to 1; SQuAD's thresholds are differences of logits.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from train.tasks.examples import Example, Prediction, TagExample, TaskData

Values = Sequence[Any]


_DEFAULTS = {
    "single_label": ("accuracy",),
    "multi_label": ("micro_f1", "macro_f1", "accuracy"),
    "regression": ("pearson_spearman", "pearson", "spearman"),
    "tags": ("entity_f1", "entity_precision", "entity_recall", "word_accuracy"),
    "spans": ("f1", "exact_match"),
}


def metrics_of(data: TaskData) -> tuple[str, ...]:
    """What is reported of a task, the headline first."""
    return data.metrics or _DEFAULTS.get(data.kind) or _DEFAULTS[data.problem]


def score(data: TaskData, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    """The task's metrics, the headline first.

    Args:
        data: what says which metrics, and what labels are called.
        examples: with their labels.
        predictions: one for each, in the same order.
    """
    if data.kind == "spans":
        return _spans(examples, predictions)
    if data.kind == "tags":
        scores = _tags(data.labels, examples, predictions)
    else:
        references, values = [_label(each) for each in examples], [each.value for each in predictions]
        scores = {name: _METRICS[data.problem][name](references, values) for name in metrics_of(data)}
    return {name: float(scores[name]) for name in metrics_of(data)}


def _label(example: Any) -> Any:
    return example.label


def _accuracy(references: Values, values: Values) -> float:
    from sklearn.metrics import accuracy_score

    return accuracy_score(references, values)


def _f1(references: Values, values: Values) -> float:
    """Of label 1, "positive" or "equivalent"; 0 where nothing has it."""
    from sklearn.metrics import f1_score

    return f1_score(references, values, zero_division=0.0)  # type: ignore[return-value,arg-type]


def _averaged_f1(average: str) -> Callable[[Values, Values], float]:
    def measure(references: Values, values: Values) -> float:
        from sklearn.metrics import f1_score

        return f1_score(references, values, average=average, zero_division=0.0)  # type: ignore[arg-type,return-value]

    return measure


def _matthews(references: Values, values: Values) -> float:
    from sklearn.metrics import matthews_corrcoef

    return matthews_corrcoef(references, values)


def _correlation(name: str) -> Callable[[Values, Values], float]:
    """0 where all predictions are the same: they tell nothing."""

    def measure(references: Values, values: Values) -> float:
        from scipy import stats

        if np.ptp(values) == 0 or np.ptp(references) == 0:
            return 0.0
        return float(getattr(stats, name)(references, values)[0])

    return measure


def _mean(*metrics: Callable[[Values, Values], float]) -> Callable[[Values, Values], float]:
    return lambda references, values: math.fsum(metric(references, values) for metric in metrics) / len(metrics)


_PEARSON, _SPEARMAN = _correlation("pearsonr"), _correlation("spearmanr")
_METRICS: Mapping[str, Mapping[str, Callable[[Values, Values], float]]] = {
    "single_label": {
        "accuracy": _accuracy,
        "f1": _f1,
        "macro_f1": _averaged_f1("macro"),
        "matthews": _matthews,
        # What the benchmark's overall score takes for MRPC and QQP.
        "accuracy_f1": _mean(_accuracy, _f1),
    },
    "multi_label": {
        "micro_f1": _averaged_f1("micro"),
        "macro_f1": _averaged_f1("macro"),
        "accuracy": _accuracy,  # all labels right
    },
    "regression": {"pearson": _PEARSON, "spearman": _SPEARMAN, "pearson_spearman": _mean(_PEARSON, _SPEARMAN)},
}


def _tags(labels: Sequence[str], examples: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Entities as conlleval counts them (seqeval), whole and of the right type."""
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    def named(tags: Sequence[int]) -> list[str]:
        return [labels[tag] for tag in tags]

    references = [named(example.tags) for example in examples if isinstance(example, TagExample) and example.tags]
    values = [named(prediction.value) for prediction in predictions]
    precision, recall, f1, _ = precision_recall_fscore_support(references, values, average="micro", zero_division=0)  # type: ignore[arg-type]
    right = [
        given == found for pair in zip(references, values, strict=True) for given, found in zip(*pair, strict=True)
    ]
    return {
        "entity_f1": float(f1),  # type: ignore[arg-type]
        "entity_precision": float(precision),  # type: ignore[arg-type]
        "entity_recall": float(recall),  # type: ignore[arg-type]
        "word_accuracy": sum(right) / max(len(right), 1),
    }


def _spans(examples: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, float]:
    """SQuAD's metrics, by the rules of 2.0 where a question has no answer, by those of 1.1 otherwise."""
    from train.tasks.spans import SpanPrediction
    from train.tasks.squad_metric import squad_scores

    version = "v1" if all(example.answers for example in examples) else "v2"
    # Read from a file, predictions are texts alone; a model's own hold what it would answer below another threshold.
    answers = {
        each.id: each.answers[0].text if isinstance(each, SpanPrediction) else each.value for each in predictions
    }
    odds = {prediction.id: prediction.probabilities[0] for prediction in predictions if prediction.probabilities}
    scores = squad_scores(examples, answers, version, odds if version == "v2" and odds else None)
    return {name: value if name.endswith("_threshold") else value / 100 for name, value in scores.items()}
