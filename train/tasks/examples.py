"""Labeled examples, what every reader of a task returns before a tokenizer has seen it, and predictions of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from flax_lite.architecture.config import Problem
from train.errors import UserError

# What is predicted, and so which head: labels of a text or a pair, a label of each word, a span that answers a
# question, one of several continuations, how alike two sentences are.
Kind = Literal["classification", "tags", "spans", "choices", "sentences"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TextExample:
    """A text or a pair of texts.

    Attributes:
        id: as the benchmark's submission format names it.
        texts: one or two.
        label: index of its label; 1.0 for each label that holds (multi_label); a number (regression); None where it is
            not known.
    """

    id: str
    texts: tuple[str, ...]
    label: int | float | tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TagExample:
    """Words with a tag each, by index; None where they are not known."""

    id: str
    words: tuple[str, ...]
    tags: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A piece of a context that answers: its text and the character it begins at."""

    text: str
    start: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpanExample:
    """A question about a context.

    Attributes:
        id: the question's.
        question: as asked.
        context: where the answer stands, if it does.
        answers: those that annotators gave; none where the context has no answer, or where they are not known.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceExample:
    """A context and several continuations, of which one is right.

    Attributes:
        id: the question's.
        context: what comes first in each row.
        choices: what comes second, as many for every example of a task.
        label: index of the right one; None where it is not known.
    """

    id: str
    context: str
    choices: tuple[str, ...]
    label: int | None = None


Example = TextExample | TagExample | SpanExample | ChoiceExample


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskData:
    """A task's examples.

    Attributes:
        kind: of its examples.
        train: to learn from; empty where only an evaluation set exists.
        evaluation: the held-out sets by name ("dev", or "matched" and "mismatched"), the first being the one that
            decides which checkpoint is best.
        test: sets that decide nothing, by name: to predict, and to score once where their labels are known.
        labels: names of the labels in the order of their indices; of regression a single name; none of spans and
            choices.
        problem: what labels of a text are; "single_label" for the other kinds.
        full_sizes: of a held-out set that is a part of what there is, by its name, of how many examples.
        notes: what a reader of the results should know of how the data was read, a sentence each.
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
    """Whether what is right is known; a question without answers is one that has none."""
    if isinstance(example, SpanExample):
        return True
    return (example.tags if isinstance(example, TagExample) else example.label) is not None


def reorder_labels(data: TaskData, labels: Sequence[str]) -> TaskData:
    """The same with its labels, which exclude each other, in another order."""
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
    """So many of them, drawn at random and in their own order: the first ones of a sorted file have one label.

    All of them where there are no more, or `count` is None.
    """
    if count is None or count >= len(examples):
        return list(examples)
    chosen = np.random.default_rng(seed).choice(len(examples), count, replace=False)
    return [examples[index] for index in sorted(chosen)]


def missing_label_notes(data: TaskData, train: Sequence[Example]) -> list[str]:
    """A note where a label of the training set has no example among those that were drawn of it."""
    if data.kind != "classification" or data.problem != "single_label":
        return []
    before, after = ({e.label for e in examples if isinstance(e, TextExample)} for examples in (data.train, train))
    lost = [name for index, name in enumerate(data.labels) if index in before - after]
    return [f"none of the {len(train)} training examples drawn has the label {', '.join(lost)}"] if lost else []


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What is predicted of one example.

    Attributes:
        id: the example's.
        value: as `train.tasks.scores.metrics` takes it: an index, a number, a 0 or 1 for each label, an index for each
            word.
        probabilities: of each label or choice, where the model gives them.
    """

    id: str
    value: Any
    probabilities: tuple[float, ...] | None = None


def align_predictions(predictions: Sequence[Prediction], examples: Sequence[Example], source: object) -> list[Any]:
    """The values predicted of the examples, in the order of these.

    Args:
        predictions: one of each example, in any order.
        examples: what was predicted.
        source: where the predictions come from, for a message.

    Raises:
        UserError: if an example has none or two, there is one of no example, or a sentence has not a tag for each word.
    """
    values = {prediction.id: prediction.value for prediction in predictions}
    if len(values) < len(predictions):
        seen: set[str] = set()
        twice = next(one.id for one in predictions if one.id in seen or seen.add(one.id))
        raise UserError(f"{source} predicts {twice!r} twice. Expected one prediction of each example.")
    known = {example.id for example in examples}
    for what, ids in (
        ("has no prediction of", known - values.keys()),
        ("predicts what is not asked:", values.keys() - known),
    ):
        if ids:
            raise UserError(
                f"{source} {what} {len(ids)} of the {len(known)} examples, {min(ids)!r} for one. Is it of another set?"
            )
    for example in examples:
        if isinstance(example, TagExample) and len(values[example.id]) != len(example.words):
            raise UserError(
                f"{source} predicts {len(values[example.id])} tags of sentence {example.id}, which has "
                f"{len(example.words)} words."
            )
    return [values[example.id] for example in examples]
