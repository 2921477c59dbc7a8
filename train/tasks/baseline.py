"""What a guess that never looks at the text scores, and whether a model is any better."""

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from train.tasks.examples import Example, Prediction, TaskData
from train.tasks.metrics import score

# Of these a guess has 0, and a correlation of n pairs has a standard error of about 1 / sqrt(n).
_CORRELATIONS = ("matthews", "pearson", "spearman", "pearson_spearman")
_STANDARD_ERRORS = 2.0

# google-research/albert and its users' threads on diverged fine-tunings (v2 models on SQuAD 2, large ones on small
# tasks): lower rates, longer warm-up, other seeds.
CURE = (
    "Try a lower optimizer.learning_rate (a half, a fifth), a longer warmup_fraction (0.2), more epochs, or other seeds"
)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A guess, and its scores on the first held-out set."""

    text: str
    scores: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a model has learnt anything, in words."""

    collapsed: bool
    text: str


def baseline(data: TaskData) -> Baseline:
    """The commonest training label (tag, choice), the mean number, or no answer at all, for everything."""
    examples = next(iter(data.evaluation.values()))
    text, value = _guess(data, data.train or examples)
    predictions = [Prediction(id=example.id, value=_fitted(value, example)) for example in examples]
    return Baseline(text, score(data, examples, predictions))


def verdict(found: Baseline, scores: Mapping[str, float], num_examples: int) -> Verdict:
    """Compares a score with the baseline's.

    A model is no better than guessing if its headline metric is not more than two standard errors above the guess's:
    sqrt(b (1 - b) / n) for a fraction b of n examples, 1 / sqrt(n) for a correlation.

    Args:
        found: the guess.
        scores: the model's on the same set.
        num_examples: n.
    """
    name, guess = next(iter(found.scores.items()))
    reached = scores[name]
    bounded = min(max(guess, 0.0), 1.0)
    spread = 1.0 if name in _CORRELATIONS else math.sqrt(bounded * (1.0 - bounded))
    least = guess + _STANDARD_ERRORS * max(spread / math.sqrt(num_examples), 1.0 / num_examples)
    against = f"{name} {reached:.4f} against {guess:.4f} of {found.text}"
    if reached > least:
        return Verdict(False, f"better than guessing: {against}")
    return Verdict(True, f"NO BETTER THAN GUESSING: {against} (needed: more than {least:.4f}). {CURE}")


def _guess(data: TaskData, examples: Sequence[Any]) -> tuple[str, Any]:
    if data.kind == "spans":
        return "no answer to any question", ""
    if data.kind == "tags":
        commonest = Counter(tag for example in examples for tag in example.tags or ()).most_common(1)[0][0]
        return f"{data.labels[commonest]} for every word", commonest
    labels = [example.label for example in examples]
    if data.problem == "regression":
        mean = statistics.fmean(labels)
        return f"always {mean:.3g}", mean
    if data.problem == "multi_label":
        shares = [statistics.fmean(column) for column in zip(*labels, strict=True)]
        return "every label that more than half have", tuple(int(share > 0.5) for share in shares)
    commonest = Counter(labels).most_common(1)[0][0]
    return f"always {data.labels[commonest] if data.labels else f'choice {commonest}'}", commonest


def _fitted(value: Any, example: Example) -> Any:
    """A tag for each word of a sentence."""
    words = getattr(example, "words", None)
    return value if words is None else (value,) * len(words)
