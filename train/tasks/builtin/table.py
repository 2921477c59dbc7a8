"""The tasks by name."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from train.data.builtin.draws import Draws
from train.data.builtin.generator import generate_document
from train.data.builtin.grammar import SPLITS
from train.errors import UserError
from train.tasks.builtin import choices, entailment, sentiment, similarity, spans, tags
from train.tasks.builtin.material import Material
from train.tasks.examples import Example, Kind, Problem, TaskData


@dataclass(frozen=True, kw_only=True)
class _Task:
    summary: str
    make: Callable[..., Example]
    kind: Kind
    labels: tuple[str, ...] = ()
    problem: Problem = "single_label"


_TASKS = {
    "sentiment": _Task(
        summary="one sentence: does what is done suit the item (positive) or not (negative)",
        make=sentiment.make,
        kind="classification",
        labels=sentiment.LABELS,
    ),
    "entailment": _Task(
        summary="two sentences and a third: do they tell it, or contradict it in two words",
        make=entailment.make,
        kind="classification",
        labels=entailment.LABELS,
    ),
    "similarity": _Task(
        summary="two sentences about an item: how many of the other five words are the same, 0 to 5",
        make=similarity.make,
        kind="classification",
        labels=similarity.LABELS,
        problem="regression",
    ),
    "tags": _Task(
        summary="three sentences with half of their words: which are days, persons, items and places",
        make=tags.make,
        kind="tags",
        labels=tags.LABELS,
    ),
    "spans": _Task(
        summary="two sentences and one of them with a word left out: which is it; or, the next one, and no answer",
        make=spans.make,
        kind="spans",
    ),
    "choices": _Task(
        summary="a sentence: which of four comes next",
        make=choices.make,
        kind="choices",
    ),
}

BUILTIN_TASKS: dict[str, str] = {name: task.summary for name, task in _TASKS.items()}
"""What each task asks, by name."""


def builtin_task(
    name: str, *, num_train: int = 8000, num_evaluation: int = 500, seed: int = 0, unanswerable: bool = False
) -> TaskData:
    """A labeled task of the built-in corpus, the same on every machine.

    Example i of a set is made of document i of the corpus's split, "train" or "heldout", and so the same whatever the
    set's size. No sentence of the evaluation set that has a person and an item occurs in training, since no training
    sentence has the two. Labels go round, so that they are as balanced as the sizes allow.

    Args:
        name: one of `BUILTIN_TASKS`.
        num_train: training examples; of few of them a pretrained model too learns by heart what it should generalize.
        num_evaluation: examples of the only evaluation set, "heldout".
        seed: of the documents, as the corpus has it, and of all else that is drawn.
        unanswerable: whether a third of the questions of "spans" have no answer.

    Raises:
        UserError: an unknown name, a negative number, or `unanswerable` of another task than "spans".
    """
    _check(name, {"num_train": num_train, "num_evaluation": num_evaluation, "seed": seed}, unanswerable)
    task = _TASKS[name]
    make = functools.partial(task.make, unanswerable=True) if unanswerable else task.make
    train, heldout = (
        [make(_material(name, split, index, seed)) for index in range(size)]
        for split, size in (("train", num_train), ("heldout", num_evaluation))
    )
    return TaskData(
        kind=task.kind, train=train, evaluation={"heldout": heldout}, labels=task.labels, problem=task.problem
    )


def _check(name: str, numbers: Mapping[str, int], unanswerable: bool) -> None:
    if name not in _TASKS:
        raise UserError(f"there is no built-in task {name!r}; there are {', '.join(_TASKS)}")
    for what, number in numbers.items():
        if number < 0:
            raise UserError(f"{what} of a built-in task is {number}; give 0 or more")
    if unanswerable and name != "spans":
        raise UserError(f"only the built-in task 'spans' has questions without an answer, not {name!r}")


def _material(name: str, split: str, index: int, seed: int) -> Material:
    # By its name, so that another task in the table changes no example of this one; not 0, which would draw what the
    # document drew.
    task = 1 + int.from_bytes(hashlib.blake2b(name.encode(), digest_size=3).digest())
    return Material(
        index=index,
        split=split,
        document=generate_document(seed, split, index),
        choose=Draws(seed, SPLITS.index(split), index, task),
    )
