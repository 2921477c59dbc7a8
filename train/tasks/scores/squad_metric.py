"""Exact match and F1 of answers in percent, as in SQuAD's evaluate-v1.1.py and evaluate-v2.0.py.

These are scripts, not a library, hence written again.
"""

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
    """Removes what the metric ignores: case, ASCII punctuation, articles, and repeated white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, gold: str) -> float:
    """Returns 1 if the normalized texts are equal, else 0."""
    return float(normalize(prediction) == normalize(gold))


def f1(prediction: str, gold: str, version: Version) -> float:
    """Computes the harmonic mean of precision and recall of the words of the normalized texts.

    If one of them has no word, v1 returns 0, and v2 returns 1 if the other has none either.
    """
    predicted, expected = normalize(prediction).split(), normalize(gold).split()
    if version == "v2" and not (predicted and expected):
        return float(predicted == expected)
    common = (Counter(predicted) & Counter(expected)).total()
    return 2 * common / (len(predicted) + len(expected)) if common else 0.0


def squad_scores(
    examples: Sequence[SpanExample],
    predictions: Mapping[str, str],
    version: Version,
    null_odds: Mapping[str, float] | None = None,
    threshold: float = 0.0,
) -> dict[str, float]:
    """Computes the metrics of a set of questions, in percent.

    The score of a question is that of the reference answer that fits best.

    Args:
        examples: the questions with all reference answers. A question without answers is unanswerable (v2), or scores 0
            (v1).
        predictions: the answer by question id, "" for no answer; a question without prediction scores 0.
        version: the version of SQuAD whose rules apply.
        null_odds: log odds that there is no answer, by question id (v2).
        threshold: a prediction with larger odds counts as "no answer"; even odds by default.

    Returns:
        "f1" and "exact_match". For v2 also "has_answer_f1", "has_answer_exact_match" and "no_answer" (where both
        metrics agree), if there are such questions; with null odds also "best_f1" and "best_exact_match" at the
        thresholds "best_f1_threshold" and "best_exact_match_threshold".

    Raises:
        UserError: if there are no questions, or a question is missing in `null_odds`.
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
    """Computes the metric of each question, from 0 to 1."""
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
        raise UserError(f"null odds are missing for {len(missing)} of {len(examples)} questions, such as {missing[0]}")
    return np.array([null_odds[example.id] for example in examples], np.float64)


def _percent(values: np.ndarray) -> float:
    return 100 * float(values.mean())
