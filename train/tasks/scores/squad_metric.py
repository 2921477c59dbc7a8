"""Exact match and F1 of answers, as SQuAD's evaluate-v1.1.py and evaluate-v2.0.py compute them, in percent."""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from flax_lite.question_answering.answers import best_threshold
from train.errors import UserError
from train.tasks.examples import SpanExample

Version = Literal["v1", "v2"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize(text: str) -> str:
    """A text without what the metric ignores: case, ASCII punctuation, articles, the amount of white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, gold: str) -> float:
    """1 if both are the same once normalized, else 0."""
    return float(normalize(prediction) == normalize(gold))


def f1(prediction: str, gold: str, version: Version) -> float:
    """The harmonic mean of precision and recall of words, in normalized texts.

    Where one of them has no word left, v1 gives 0, and v2 gives 1 if the other has none either.
    """
    given, wanted = normalize(prediction).split(), normalize(gold).split()
    if version == "v2" and not (given and wanted):
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted)) if common else 0.0


def squad_scores(
    examples: Sequence[SpanExample],
    predictions: Mapping[str, str],
    version: Version,
    null_odds: Mapping[str, float] | None = None,
    threshold: float = 0.0,
) -> dict[str, float]:
    """The metrics of a set, in percent.

    Args:
        examples: with all their answers. A question without answers has none (v2), or fits no prediction (v1).
        predictions: answer by question, "" for none; a question without prediction scores 0. A question scores as
            high as the answer that fits best.
        version: whose rules apply.
        null_odds: by question, the larger, the likelier is it that there is no answer (v2).
        threshold: a prediction whose odds are above counts as "no answer"; the logarithm of even odds by default.

    Returns:
        "f1" and "exact_match". Of v2 also "has_answer_f1", "has_answer_exact_match" and "no_answer" (both metrics
        agree there) where there are such questions; with null odds "best_f1" and "best_exact_match", which are reached
        with the thresholds "best_f1_threshold" and "best_exact_match_threshold" instead.

    Raises:
        UserError: if there are no questions, or null odds lack one of them.
    """
    if not examples:
        raise UserError("there are no questions to score predictions on")
    metrics: dict[str, Callable[[str, str], float]] = {
        "f1": lambda prediction, gold: f1(prediction, gold, version),
        "exact_match": exact_match,
    }
    raw = {name: _values(metric, examples, predictions, version) for name, metric in metrics.items()}
    if version == "v1":
        return {name: _percent(each) for name, each in raw.items()}
    has_answer = np.array([bool(example.answers) for example in examples])
    odds = np.full(len(examples), -np.inf) if null_odds is None else _odds(examples, null_odds)
    values = {name: np.where(odds > threshold, ~has_answer, each) for name, each in raw.items()}
    scores = {name: _percent(each) for name, each in values.items()}
    if has_answer.any():
        scores |= {f"has_answer_{name}": _percent(each[has_answer]) for name, each in values.items()}
    if not has_answer.all():
        scores["no_answer"] = _percent(values["exact_match"][~has_answer])
    if null_odds is not None:
        answered = np.array([bool(predictions.get(example.id)) for example in examples])
        for name, each in raw.items():
            best, scores[f"best_{name}_threshold"] = best_threshold(odds, each, has_answer, answered)
            scores[f"best_{name}"] = 100 * best
    return scores


def _values(
    metric: Callable[[str, str], float],
    examples: Sequence[SpanExample],
    predictions: Mapping[str, str],
    version: Version,
) -> np.ndarray:
    """The metric of each question, between 0 and 1."""
    values = np.zeros(len(examples))
    for index, example in enumerate(examples):
        prediction = predictions.get(example.id)
        if prediction is not None:
            values[index] = max((metric(prediction, gold) for gold in _golds(example, version)), default=0.0)
    return values


def _golds(example: SpanExample, version: Version) -> list[str]:
    texts = [answer.text for answer in example.answers]
    return texts if version == "v1" else [text for text in texts if normalize(text)] or [""]


def _odds(examples: Sequence[SpanExample], null_odds: Mapping[str, float]) -> np.ndarray:
    missing = [example.id for example in examples if example.id not in null_odds]
    if missing:
        raise UserError(f"null odds lack {len(missing)} of {len(examples)} questions, such as {missing[0]}")
    return np.array([null_odds[example.id] for example in examples], np.float64)


def _percent(values: np.ndarray) -> float:
    return 100 * float(values.mean())
