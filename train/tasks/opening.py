"""Prepares a task from the options of a fine-tuning job: its data, its tokenizer and its rows."""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flax_lite.tokenization import Tokenizer
from train.data.tokenizers import TokenizerRequest, load_requested, requested_tokenizer, train_requested
from train.data.vocabulary import check_vocabularies
from train.errors import UserError
from train.options.schema import nearest
from train.tasks.examples import Example, Prediction, TaskData, missing_label_notes, sample_examples
from train.tasks.kinds.task import Task
from train.tasks.readers.label_names import label_name
from train.tasks.registry import TASKS
from train.tasks.rows import RowSet, collect_rows
from train.tasks.scores.metrics import Scores
from train.tasks.scores.scoring import Scorer


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleSets:
    """Sets of examples and the rows of all of them.

    Attributes:
        sets: examples by the name of their set.
        rows: the rows of all sets, in the order of the sets.
    """

    sets: Mapping[str, Sequence[Example]]
    rows: RowSet

    @classmethod
    def of(cls, task: Task, sets: Mapping[str, Sequence[Example]]) -> "ExampleSets":
        """Builds the rows of the sets."""
        return cls(sets=sets, rows=task.rows(list(itertools.chain(*sets.values()))))

    def predictions(self, task: Task, results: Sequence[Mapping[str, np.ndarray]]) -> dict[str, list[Prediction]]:
        """Returns the predictions of each set from the results of an evaluation step on all rows."""
        examples = list(itertools.chain(*self.sets.values()))
        found = iter(task.predict(examples, self.rows, collect_rows(results, self.rows)))
        return {name: list(itertools.islice(found, len(examples))) for name, examples in self.sets.items()}

    def scores(self, scorer: Scorer, predictions: Mapping[str, Sequence[Prediction]]) -> dict[str, float]:
        """Returns the metrics of every set; those of all sets but the first have the set's name as prefix."""
        scores = {name: scorer.score(examples, predictions[name]).values for name, examples in self.sets.items()}
        return {
            f"{prefix}{metric}": value for name, prefix in self._prefixes() for metric, value in scores[name].items()
        }

    def names(self, metrics: Iterable[str]) -> list[str]:
        """Returns the keys that the metrics have in `scores`."""
        return [f"{prefix}{metric}" for _, prefix in self._prefixes() for metric in metrics]

    def _prefixes(self) -> list[tuple[str, str]]:
        return [(name, f"{name}_" if number else "") for number, name in enumerate(self.sets)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A task that is ready for training, evaluation and prediction.

    Attributes:
        task: the task with its data.
        train: the rows of the training set; empty if there is none.
        held_out: the evaluation sets.
        test: the test sets, which are predicted, and scored if that is asked for and their labels are known.
        scorer: computes the metrics.
        baseline: the scores of a constant prediction on the first evaluation set.
    """

    task: Task
    train: RowSet
    held_out: ExampleSets
    test: ExampleSets
    scorer: Scorer
    baseline: Scores

    def identity(self) -> dict[str, str]:
        """Returns fingerprints of the data and the tokenizer."""
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
        """The evaluation set that selects the best checkpoint."""
        return next(iter(self.held_out.sets.values()))

    def class_weights(self, given: str | Sequence[Any]) -> tuple[float, ...] | None:
        """Returns the weight of each class in the loss.

        Args:
            given: "balanced", with which every class contributes equally; pairs of a label and its weight; or "equal".

        Returns:
            The weights in the order of the labels, 1 for a label that is not given; None for "equal".

        Raises:
            UserError: if the problem is not single_label, a label of "balanced" has no example, or the pairs are not
                pairs of the task's labels with weights above 0.
        """
        if given == "equal":
            return None
        if self.task.problem != "single_label":
            raise UserError(f"class_weights={given} needs a problem of single_label, got {self.task.problem}")
        labels = self.task.data.labels
        if given == "balanced":
            return balanced_weights([int(row.labels["labels"]) for row in self.train.rows], labels)
        return chosen_weights(given, labels)

    def best_metric(self, given: str | None) -> tuple[str, Literal["min", "max"]]:
        """Returns the metric that chooses the best checkpoint, and whether its lowest or highest value is the best.

        Args:
            given: a metric of the held-out sets, or "loss"; None: the headline of the task.

        Raises:
            UserError: if there is no such metric.
        """
        if given is None:
            return self.scorer.reported.headline, "max"
        known = ["loss", *self.held_out.names(self.baseline.values)]
        if given not in known:
            raise UserError(f"best_metric={given}: this task has {', '.join(known)}{nearest(given, known)}")
        return given, "min" if given == "loss" else "max"


def limit_examples(data: TaskData, num_train: int | None, num_evaluation: int | None, seed: int = 0) -> TaskData:
    """Limits the numbers of examples by sampling.

    The training set is sampled with the seed; evaluation sets are the same for every seed.

    Raises:
        UserError: if there is no evaluation example.
    """
    evaluation = {name: sample_examples(examples, num_evaluation, 0) for name, examples in data.evaluation.items()}
    empty = [name for name, examples in evaluation.items() if not examples]
    if not evaluation or empty:
        raise UserError(f"there are no held-out examples{f' in {empty[0]}' if empty else ''} to evaluate on")
    full_sizes = {name: len(examples) for name, examples in data.evaluation.items()} | dict(data.full_sizes)
    full_sizes = {name: count for name, count in full_sizes.items() if len(evaluation[name]) < count}
    train = sample_examples(data.train, num_train, seed)
    notes = (*data.notes, *missing_label_notes(data, train))
    return dataclasses.replace(data, train=train, evaluation=evaluation, full_sizes=full_sizes, notes=notes)


def texts_of(examples: Sequence[Any]) -> list[str]:
    """Returns all texts of the examples, to train a tokenizer on."""
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
    """Reads the examples of a task.

    Args:
        values: the options of the job.
        training: whether a training set is required. If not, a single file is the evaluation set, and a test set
            without an evaluation set takes its role.

    Raises:
        UserError: if the task or the source is unknown, or the data does not have the format of its benchmark.
    """
    task, source = values["task"], values["data.source"]
    if task not in TASKS:
        raise UserError(f"there is no task {task}; there are {', '.join(TASKS)}")
    entry = TASKS[task]
    if source == "builtin":
        sizes = {"num_train": values["data.max_train_examples"], "num_evaluation": values["data.max_eval_examples"]}
        data = entry.builtin.data(**{name: size for name, size in sizes.items() if size is not None})
    else:
        scheme, colon, _ = source.partition(":")
        if not colon or scheme not in ("files", "tfds"):
            raise UserError(f"data.source={source}, expected builtin, files:PATH or tfds:NAME[/CONFIG]")
        data = entry.read(values, training)
    if entry.kind is not None:
        data = dataclasses.replace(data, kind=entry.kind)
    return limit_examples(data, values["data.max_train_examples"], values["data.max_eval_examples"], values["seed"])


def scorer_of(values: Values, data: TaskData) -> Scorer:
    """Creates the scorer of a task; a built-in replacement of a benchmark is not scored by the benchmark's rules."""
    return Scorer(None if values["data.source"] == "builtin" else values["task"], data)


def prepare(
    values: Values, log: Callable[[str], None], *, training: bool = True, kept_tokenizer: Path | None = None
) -> Prepared:
    """Reads the data of a task, opens its tokenizer and builds its rows.

    Args:
        values: the options of the job.
        log: receives progress lines.
        training: whether to build training rows. If not, no tokenizer is trained, because an evaluated model has one.
        kept_tokenizer: the directory of the tokenizer that an earlier run trained.

    Raises:
        UserError: as `open_data`; if the tokenizer cannot be read or does not fit a model of the options; if the
            options do not describe valid rows.
    """
    data = open_data(values, training=training)
    wanted = requested_tokenizer(values)
    if wanted.training is not None and not training:
        wanted = requested_tokenizer({**values, "tokenizer": None, "tokenizer_case": None, "tokenizer_accents": None})
        log(f"tokenizer: of {wanted.name}; tokenizer={values['tokenizer']} would train another one")
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


def chosen_weights(pairs: Sequence[Any], labels: Sequence[str]) -> tuple[float, ...]:
    """Returns the weight of each label from pairs of a label and its weight; 1 for labels that are not given.

    Raises:
        UserError: if these are not pairs, a label is unknown or given twice, or a weight is not a number above 0.
    """
    expected = "expected (('LABEL', weight), ...), equal or balanced"
    weights: dict[str, float] = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise UserError(f"class_weights has {pair!r}, {expected}")
        name, weight = label_name(pair[0]), pair[1]
        if name not in labels or name in weights:
            problem = "given twice" if name in weights else f"not a label{nearest(name, labels)}"
            raise UserError(f"class_weights: {name!r} is {problem}. The labels are {', '.join(labels)}")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
            raise UserError(f"class_weights: the weight of {name!r} is {weight!r}, expected a number above 0")
        weights[name] = float(weight)
    if not weights:
        raise UserError(f"class_weights has no pair, {expected}")
    return tuple(weights.get(name, 1.0) for name in labels)


def balanced_weights(indices: Sequence[int], labels: Sequence[str]) -> tuple[float, ...]:
    """Computes the weights N / (K n_k), as scikit-learn's "balanced" (King and Zeng 2001).

    Args:
        indices: the labels of the N training examples.
        labels: names of the K labels.

    Raises:
        UserError: if a label has no example, so that its weight would be infinite.
    """
    counts = np.bincount(indices, minlength=len(labels))
    if absent := [name for name, count in zip(labels, counts, strict=True) if not count]:
        raise UserError(f"No training example has the label {', '.join(absent)}: balanced weights cannot be computed.")
    return tuple((len(indices) / (len(labels) * counts)).tolist())
