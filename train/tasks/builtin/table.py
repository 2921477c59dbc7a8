"""The labeled tasks of the built-in corpus."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from train.data.builtin.draws import Draws
from train.data.builtin.generator import generate_document
from train.data.builtin.grammar import SPLITS
from train.errors import UserError
from train.tasks.builtin import choices, entailment, sentiment, similarity, spans, tags
from train.tasks.builtin.material import Material
from train.tasks.examples import Example, Kind, Problem, TaskData


@dataclass(frozen=True, kw_only=True)
class BuiltinTask:
    """A labeled task of the built-in corpus.

    Attributes:
        name: seeds the random choices, so that adding a task changes no example of another one.
        make: builds an example from a document.
        kind: the kind of its examples.
        labels: names of the labels.
        problem: the kind of label of a text.
    """

    name: str
    make: Callable[[Material], Example]
    kind: Kind
    labels: tuple[str, ...] = ()
    problem: Problem = "single_label"

    def data(self, *, num_train: int = 8000, num_evaluation: int = 500, seed: int = 0) -> TaskData:
        """Generates the examples, the same on every machine.

        Example i of a set is built from document i of the corpus's split, whatever the size of the set. No sentence
        with a person and an item occurs in both sets, because the splits of the corpus have no such pair in common.
        Labels alternate, so that they are as balanced as the sizes allow.

        Args:
            num_train: number of training examples. From few examples, even a pretrained model memorizes instead of
                generalizing.
            num_evaluation: number of examples of the only evaluation set, "heldout".
            seed: seed of the documents and of the random choices.

        Raises:
            UserError: if a number is negative.
        """
        for option, number in (("num_train", num_train), ("num_evaluation", num_evaluation), ("seed", seed)):
            if number < 0:
                raise UserError(f"{option} of a built-in task is {number}; give 0 or more")
        train, heldout = (
            [self.make(self._material(split, index, seed)) for index in range(size)]
            for split, size in (("train", num_train), ("heldout", num_evaluation))
        )
        evaluation = {"heldout": heldout}
        return TaskData(kind=self.kind, train=train, evaluation=evaluation, labels=self.labels, problem=self.problem)

    def _material(self, split: str, index: int, seed: int) -> Material:
        # Not 0, with which the choices would repeat those of the document.
        task = 1 + int.from_bytes(hashlib.blake2b(self.name.encode(), digest_size=3).digest())
        return Material(
            index=index,
            split=split,
            document=generate_document(seed, split, index),
            choose=Draws(seed, SPLITS.index(split), index, task),
        )


SENTIMENT = BuiltinTask(name="sentiment", make=sentiment.make, kind="classification", labels=sentiment.LABELS)
ENTAILMENT = BuiltinTask(name="entailment", make=entailment.make, kind="classification", labels=entailment.LABELS)
SIMILARITY = BuiltinTask(
    name="similarity", make=similarity.make, kind="classification", labels=similarity.LABELS, problem="regression"
)
TAGS = BuiltinTask(name="tags", make=tags.make, kind="tags", labels=tags.LABELS)
SPANS = BuiltinTask(name="spans", make=spans.make, kind="spans")
# With the name of SPANS: the answerable questions are the same.
SPANS_V2 = BuiltinTask(name="spans", make=functools.partial(spans.make, unanswerable=True), kind="spans")
CHOICES = BuiltinTask(name="choices", make=choices.make, kind="choices")
