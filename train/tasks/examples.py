"""Labeled examples, which every reader returns, and predictions for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from flax_lite.architecture.config import Problem
from train.errors import UserError

# What is predicted, which determines the head: labels of a text or a pair of texts, a label per word, the span that
# answers a question, one of several continuations, or the similarity of two sentences.
Kind = Literal["classification", "tags", "spans", "choices", "sentences"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TextExample:
    """A text or a pair of texts.

    Attributes:
        id: the id in the submission format of the benchmark.
        texts: one or two texts.
        label: the index of its label; for multi_label, 1.0 or 0.0 for each label; for regression, a number; None if
            unknown.
    """

    id: str
    texts: tuple[str, ...]
    label: int | float | tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TagExample:
    """Words and the index of each word's tag; `tags` is None if unknown."""

    id: str
    words: tuple[str, ...]
    tags: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its text, and the character of the context at which it starts."""

    text: str
    start: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpanExample:
    """A question about a context.

    Attributes:
        id: the id of the question.
        question: the question.
        context: the text that may hold the answer.
        answers: the answers of the annotators; empty if the context has no answer, or the answers are unknown.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceExample:
    """A context and several continuations, of which one is correct.

    Attributes:
        id: the id of the question.
        context: the first text of each row.
        choices: the second texts; all examples of a task have the same number.
        label: index of the correct choice; None if unknown.
    """

    id: str
    context: str
    choices: tuple[str, ...]
    label: int | None = None


Example = TextExample | TagExample | SpanExample | ChoiceExample


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskData:
    """The examples of a task.

    Attributes:
        kind: the kind of the examples.
        train: the training set; empty if only an evaluation set exists.
        evaluation: the evaluation sets by name ("dev", or "matched" and "mismatched"); the first selects the best
            checkpoint.
        test: the test sets by name, which are predicted, and scored if that is asked for and their labels are known.
        labels: names of the labels in the order of their indices; a single name for regression; empty for spans and
            choices.
        problem: the kind of label of a text; "single_label" for the other kinds of examples.
        full_sizes: the full number of examples of an evaluation set that is a sample, by its name.
        notes: remarks on how the data was read that matter for the results, one sentence each.
    """

    kind: Kind
    train: Sequence[Example]
    evaluation: Mapping[str, Sequence[Example]]
    test: Mapping[str, Sequence[Example]] = dataclasses.field(default_factory=dict)
    labels: tuple[str, ...] = ()
    problem: Problem = "single_label"
    full_sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def is_labeled(example: Example) -> bool:
    """Returns whether the label is known; a question without answers counts as unanswerable, not as unlabeled."""
    if isinstance(example, SpanExample):
        return True
    return (example.tags if isinstance(example, TagExample) else example.label) is not None


def reorder_labels(data: TaskData, labels: Sequence[str]) -> TaskData:
    """Returns single-label data with its labels in another order."""
    indices = {index: labels.index(name) for index, name in enumerate(data.labels)}

    def changed(examples: Sequence[Example]) -> list[Example]:
        texts = (example for example in examples if isinstance(example, TextExample))
        return [dataclasses.replace(each, label=indices.get(each.label)) for each in texts]  # type: ignore[arg-type]

    return dataclasses.replace(
        data,
        labels=tuple(labels),
        train=changed(data.train),
        evaluation={name: changed(examples) for name, examples in data.evaluation.items()},
        test={name: changed(examples) for name, examples in data.test.items()},
    )


def sample_examples(examples: Sequence[Example], count: int | None, seed: int) -> list[Example]:
    """Returns at most `count` examples, sampled at random and in their original order; all if `count` is None.

    They are not the first ones, which in a sorted file have a single label.
    """
    if count is None or count >= len(examples):
        return list(examples)
    chosen = np.random.default_rng(seed).choice(len(examples), count, replace=False)
    return [examples[index] for index in sorted(chosen)]


def missing_label_notes(data: TaskData, train: Sequence[Example]) -> list[str]:
    """Returns a note if a label of the training set has no example in its sample `train`."""
    if data.kind != "classification" or data.problem != "single_label":
        return []
    full, sampled = ({e.label for e in examples if isinstance(e, TextExample)} for examples in (data.train, train))
    missing = [name for index, name in enumerate(data.labels) if index in full - sampled]
    return [f"none of the {len(train)} sampled training examples has the label {', '.join(missing)}"] if missing else []


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The prediction for an example.

    Attributes:
        id: the id of the example.
        value: as in `train.tasks.scores.metrics`: an index, a number, a 0 or 1 for each label, or an index for each
            word.
        probabilities: the probability of each label or choice; None if unknown.
    """

    id: str
    value: Any
    probabilities: tuple[float, ...] | None = None


def align_predictions(predictions: Sequence[Prediction], examples: Sequence[Example], source: object) -> list[Any]:
    """Returns the predicted values in the order of the examples.

    Args:
        predictions: one prediction per example, in any order.
        examples: the examples.
        source: the origin of the predictions, for messages.

    Raises:
        UserError: if an example has no prediction or two, a prediction has no example, or the number of tags differs
            from the number of words.
    """
    values = {prediction.id: prediction.value for prediction in predictions}
    if len(values) < len(predictions):
        seen: set[str] = set()
        twice = next(one.id for one in predictions if one.id in seen or seen.add(one.id))
        raise UserError(f"{source} predicts {twice!r} twice. Expected one prediction per example.")
    known = {example.id for example in examples}
    for what, ids in (
        (f"has no prediction for {{}} of the {len(known)} examples", known - values.keys()),
        (f"has {{}} prediction(s) for ids that are not among the {len(known)} examples", values.keys() - known),
    ):
        if ids:
            raise UserError(
                f"{source} {what.format(len(ids))}, for example {min(ids)!r}. Does it belong to another set?"
            )
    for example in examples:
        if isinstance(example, TagExample) and len(values[example.id]) != len(example.words):
            raise UserError(
                f"{source} predicts {len(values[example.id])} tags for sentence {example.id}, which has "
                f"{len(example.words)} words."
            )
    return [values[example.id] for example in examples]
