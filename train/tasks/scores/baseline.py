"""What guessing scores, and whether a model does better: a seed whose training collapsed does not."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from train.tasks.examples import Example, SpanExample, TagExample, TaskData
from train.tasks.scores.metrics import Scores, TaskMetrics, score

# Large ALBERTs in particular: google-research/google-research#151 (xlarge: 5e-6), huggingface/transformers#2104; RACE's
# rate was halved for the second versions (google-research/albert, README). All of BERT's kind: Mosbach et al. 2021
# (arXiv:2006.04884).
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
    """Whether a score is any better than guessing.

    Attributes:
        score: the model's.
        baseline: that of guessing.
        standard_error: how far chance moves the baseline's.
        guessing: whether the score is at most the baseline and one standard error, or no number. Not, where guessing
            itself has no score.
        message: says so, with the cure where it is guessing.
    """

    score: float
    baseline: float
    standard_error: float
    guessing: bool
    message: str


def guess(data: TaskData, examples: Sequence[Example]) -> list[Any]:
    """What is predicted of each example without looking at it.

    One label of several, or one choice of several: the most frequent one of the training set (the first of equals).
    Several labels: those that more than half of the training set has, which is often none. A number: the mean of the
    training set. Tags: O for every word. Spans: no answer, "".

    Args:
        data: the task; where its training set is empty or has no labels, the examples' own labels are counted instead.
        examples: what to predict.

    Raises:
        ValueError: if there are no labels to count.
    """
    if data.kind == "spans":
        return [""] * len(examples)
    if data.kind == "tags":
        outside = data.labels.index("O")
        return [(outside,) * len(e.words) for e in examples if isinstance(e, TagExample)]
    known = _labels(data.train) or _labels(examples)
    if not known:
        raise ValueError("neither the training set nor the examples have labels to guess from")
    return [_commonest(data, known)] * len(examples)


def baseline(data: TaskData, examples: Sequence[Example], reported: TaskMetrics) -> Scores:
    """Scores `guess` by the task's own metrics; not of spans, which SQuAD scores in its own way.

    Raises:
        ValueError: as `guess` and `score`.
    """
    references = [e.tags if isinstance(e, TagExample) else e.label for e in examples if not isinstance(e, SpanExample)]
    return score(reported, guess(data, examples), references, data.labels)


def standard_error(metric: str, value: float, num_examples: int) -> float:
    """How far chance moves a metric of guessing, one standard error.

    A share p of n examples: sqrt(p (1 - p) / n); the F1s are taken for shares of the examples, which is not exact. A
    correlation where there is none: 1 / sqrt(n - 1) (Matthews' is Pearson's of two classes).

    Args:
        metric: its name.
        value: what guessing scores.
        num_examples: n; at least 1.

    Raises:
        ValueError: for a metric whose distribution is not known here.
    """
    if metric in _PROPORTIONS:
        return math.sqrt(value * (1.0 - value) / num_examples)
    if metric in ("matthews", "pearson", "spearman"):
        return 1.0 / math.sqrt(max(num_examples - 1, 1))
    raise ValueError(f"the standard error of {metric!r} is not known")


def judge(reported: TaskMetrics, scores: Scores, guessed: Scores, num_examples: int) -> Verdict:
    """Whether a model's headline metric is at most that of guessing and one standard error.

    The standard error of "mean" is the mean of those of its metrics: they rise and fall together.

    Args:
        reported: the metrics.
        scores: the model's.
        guessed: those of `baseline` on the same examples.
        num_examples: how many these are.
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
    """The verdict on a score, given what guessing scores and its standard error, all on one scale."""
    if math.isnan(guessed):
        message = f"not compared with guessing: {metric} is not defined on these examples"
        return Verdict(score=value, baseline=guessed, standard_error=error, guessing=False, message=message)
    guessing = not value > guessed + error  # NaN is no better than anything
    compared = f"{metric} {value:.4f}, guessing {guessed:.4f} with a standard error of {error:.4f}"
    message = f"no better than guessing ({compared}). {CURE}" if guessing else f"better than guessing ({compared})"
    return Verdict(score=value, baseline=guessed, standard_error=error, guessing=guessing, message=message)


def _labels(examples: Sequence[Example]) -> list[Any]:
    found = (e.label for e in examples if not isinstance(e, (SpanExample, TagExample)))
    return [label for label in found if label is not None]


def _commonest(data: TaskData, known: list[Any]) -> Any:
    if data.problem == "regression":
        return sum(known) / len(known)
    if data.problem == "multi_label":
        return tuple(float(2 * sum(column) > len(known)) for column in zip(*known, strict=True))
    return min(collections.Counter(known).items(), key=lambda item: (-item[1], item[0]))[0]
