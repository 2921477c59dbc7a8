"""From a fine-tuning's options to a prepared task: which reader, which tokenizer, which kind of rows, what weights."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flax_lite.tokenization import Tokenizer
from train.data.tokenizers import TokenizerRequest, load_requested, requested_tokenizer, train_requested
from train.data.vocabulary import check_vocabularies
from train.errors import UserError
from train.tasks.examples import Example, Prediction, TaskData, missing_label_notes, sample_examples
from train.tasks.kinds.task import Task
from train.tasks.registry import TASKS
from train.tasks.rows import RowSet, collect_rows
from train.tasks.scores.metrics import Scores
from train.tasks.scores.scoring import Scorer


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleSets:
    """Sets of examples, and all their rows in one.

    Attributes:
        sets: examples by the name of their set.
        rows: of all of them, one set after the other.
    """

    sets: Mapping[str, Sequence[Example]]
    rows: RowSet

    @classmethod
    def of(cls, task: Task, sets: Mapping[str, Sequence[Example]]) -> "ExampleSets":
        """Cuts the rows of some sets."""
        return cls(sets=sets, rows=task.rows(list(itertools.chain(*sets.values()))))

    def predictions(self, task: Task, results: Sequence[Mapping[str, np.ndarray]]) -> dict[str, list[Prediction]]:
        """The predictions of each set, from what an evaluation step kept of all rows."""
        examples = list(itertools.chain(*self.sets.values()))
        found = iter(task.predict(examples, self.rows, collect_rows(results, self.rows)))
        return {name: list(itertools.islice(found, len(examples))) for name, examples in self.sets.items()}

    def scores(self, scorer: Scorer, predictions: Mapping[str, Sequence[Prediction]]) -> dict[str, float]:
        """The metrics of every set: those of the first under their own names, the others' behind their set's."""
        own = {name: scorer.score(examples, predictions[name]).values for name, examples in self.sets.items()}
        return {f"{prefix}{metric}": value for name, prefix in self._prefixes() for metric, value in own[name].items()}

    def names(self, metrics: Iterable[str]) -> list[str]:
        """What metrics are called in `scores`."""
        return [f"{prefix}{metric}" for _, prefix in self._prefixes() for metric in metrics]

    def _prefixes(self) -> list[tuple[str, str]]:
        return [(name, f"{name}_" if number else "") for number, name in enumerate(self.sets)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A task ready to be trained, scored and predicted.

    Attributes:
        task: its data and head.
        train: rows to learn from; none where there are held-out sets alone.
        held_out: the sets that scores are of.
        test: sets that decide nothing, to predict, and to score once where their labels are known.
        scorer: its metrics.
        baseline: what guessing scores on the first held-out set.
    """

    task: Task
    train: RowSet
    held_out: ExampleSets
    test: ExampleSets
    scorer: Scorer
    baseline: Scores

    def identity(self) -> dict[str, str]:
        """Fingerprints of all that numbers depend on."""
        digest = hashlib.sha256()
        for row in (*self.train.rows, *self.held_out.rows.rows):
            for array in (*row.tokens, *(row.labels[name] for name in sorted(row.labels))):
                digest.update(f"{array.dtype.str} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        labels = "\0".join(self.task.data.labels)
        digest.update(labels.encode())
        return {"data": digest.hexdigest(), "tokenizer": self.task.tokenizer.fingerprint}

    @property
    def primary_examples(self) -> Sequence[Example]:
        """The held-out set that decides."""
        return next(iter(self.held_out.sets.values()))

    def class_weights(self) -> tuple[float, ...]:
        """Weights that let every class count alike.

        Raises:
            UserError: if the labels are no classes, or one of them has no example.
        """
        if self.task.problem != "single_label":
            raise UserError(
                f"class_weights=balanced is for labels that exclude each other, not for {self.task.problem}"
            )
        return balanced_weights([int(row.labels["labels"]) for row in self.train.rows], self.task.data.labels)


def limit_examples(data: TaskData, num_train: int | None, num_evaluation: int | None, seed: int = 0) -> TaskData:
    """So many of the training examples, drawn with the seed, and of each held-out set, the same for every seed.

    Raises:
        UserError: if nothing is left to learn from or to score.
    """
    evaluation = {name: sample_examples(examples, num_evaluation, 0) for name, examples in data.evaluation.items()}
    empty = [name for name, examples in evaluation.items() if not examples]
    if not evaluation or empty:
        raise UserError(f"there are no held-out examples{f' in {empty[0]}' if empty else ''}, which the score is of")
    full_sizes = {name: len(examples) for name, examples in data.evaluation.items()} | dict(data.full_sizes)
    full_sizes = {name: count for name, count in full_sizes.items() if len(evaluation[name]) < count}
    train = sample_examples(data.train, num_train, seed)
    notes = (*data.notes, *missing_label_notes(data, train))
    return dataclasses.replace(data, train=train, evaluation=evaluation, full_sizes=full_sizes, notes=notes)


def texts_of(examples: Sequence[Any]) -> list[str]:
    """All texts of examples, for a tokenizer to be trained on."""
    texts: list[str] = []
    for example in examples:
        for field in dataclasses.fields(example):
            value = getattr(example, field.name)
            if field.name in ("question", "context"):
                texts.append(value)
            elif field.name in ("texts", "words", "choices"):
                texts.append(" ".join(value))
    return texts


Values = Mapping[str, Any]


def open_data(values: Values, *, training: bool = True) -> TaskData:
    """Reads a task's examples.

    Args:
        values: the job's options.
        training: whether there have to be examples to learn from. Where not, held-out examples may be all there are: a
            single file is held out whole, and where there is a test set alone, that is scored.

    Raises:
        UserError: if there is no such task or source, or the data is not as its benchmark has it.
    """
    task, source = values["task"], values["data.source"]
    if task not in TASKS:
        raise UserError(f"there is no task {task}; there are {', '.join(TASKS)}")
    entry = TASKS[task]
    if source == "builtin":
        from train.tasks.builtin import builtin_task

        sizes = {"num_train": values["data.max_train_examples"], "num_evaluation": values["data.max_eval_examples"]}
        given = {name: size for name, size in sizes.items() if size is not None}
        data = builtin_task(entry.builtin, **given, **entry.options)
    else:
        scheme, colon, _ = source.partition(":")
        if not colon or scheme not in ("files", "tfds"):
            raise UserError(f"data.source={source} is none of builtin, files:PATH and tfds:NAME[/CONFIG]")
        data = entry.read(values, training)
    if entry.kind is not None:
        data = dataclasses.replace(data, kind=entry.kind)
    return limit_examples(data, values["data.max_train_examples"], values["data.max_eval_examples"], values["seed"])


def scorer_of(values: Values, data: TaskData) -> Scorer:
    """How the task's predictions are scored; a built-in task that stands in for a benchmark's has none of its rules."""
    return Scorer(None if values["data.source"] == "builtin" else values["task"], data)


def prepare(
    values: Values, log: Callable[[str], None], *, training: bool = True, kept_tokenizer: Path | None = None
) -> Prepared:
    """Makes a task ready.

    Args:
        values: the job's options.
        log: takes lines for a person.
        training: whether rows to learn from are wanted. Where not, no tokenizer is trained: a model that is scored has
            its own.
        kept_tokenizer: what an earlier run keeps of a tokenizer that it trained.

    Raises:
        UserError: as `open_data`, or if the tokenizer cannot be read or is not that of a model that the options name,
            or rows cannot be cut as the options say.
    """
    data = open_data(values, training=training)
    wanted = requested_tokenizer(values)
    if wanted.training is not None and not training:
        wanted = requested_tokenizer({**values, "tokenizer": None, "tokenizer_case": None, "tokenizer_accents": None})
        log(f"tokenizer: that of {wanted.name}; tokenizer={values['tokenizer']} would train another one")
    tokenizer = _tokenizer(wanted, data, kept_tokenizer, log)
    check_vocabularies(values, tokenizer, wanted.name, log)
    task = TASKS[values["task"]].make(data, tokenizer, values)
    scorer = scorer_of(values, data)
    return Prepared(
        task=task,
        train=task.rows(data.train if training else []),
        held_out=ExampleSets.of(task, data.evaluation),
        test=ExampleSets.of(task, data.test if training else {}),
        scorer=scorer,
        baseline=scorer.baseline(next(iter(data.evaluation.values()))),
    )


def _tokenizer(wanted: TokenizerRequest, data: TaskData, kept: Path | None, log: Callable[[str], None]) -> Tokenizer:
    try:
        found = load_requested(wanted, kept)
        if isinstance(found, Tokenizer):
            return found
        return train_requested(found, texts_of(data.train), "the training examples", log)[0]
    except (ValueError, OSError) as error:
        raise UserError(f"{wanted.name}: {error}") from error


def balanced_weights(indices: Sequence[int], labels: Sequence[str]) -> tuple[float, ...]:
    """A weight for each label: N / (K n_k), as scikit-learn's "balanced" (King and Zeng 2001).

    Args:
        indices: the label of each of the N training examples.
        labels: names of the K labels.

    Raises:
        UserError: naming the labels that no example has, whose weight would be infinite.
    """
    counts = [0] * len(labels)
    for index in indices:
        counts[index] += 1
    if absent := [name for name, count in zip(labels, counts, strict=True) if not count]:
        raise UserError(f"No training example has the label {', '.join(absent)}: balanced weights cannot be computed.")
    return tuple(len(indices) / (len(labels) * count) for count in counts)
