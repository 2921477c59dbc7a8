"""Scores predictions of every kind of task, and writes and reads their files."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train.errors import UserError
from train.tasks.examples import Example, Prediction, SpanExample, TaskData, align_predictions, is_labeled
from train.tasks.readers.glue_table import GLUE
from train.tasks.readers.lines import read_all, read_object
from train.tasks.scores.baseline import Verdict, describe_constant, guess, judge, standard_error, verdict
from train.tasks.scores.metrics import Scores, TaskMetrics, metrics_of, score
from train.tasks.scores.squad_metric import squad_scores
from train.tasks.scores.submission import (
    glue_file,
    read_columns,
    read_glue_predictions,
    read_json,
    write_columns,
    write_glue,
    write_json,
)

_MAX_BYTES = 2**28  # the answers to all questions of SQuAD take 1 MB
SPANS = TaskMetrics(("f1", "exact_match"), "f1")
SENTENCES = TaskMetrics(("spearman", "pearson"), "spearman")


@dataclasses.dataclass(frozen=True)
class Scorer:
    """The scorer of a task.

    Attributes:
        task: the name of its benchmark's task; None if no benchmark's rules apply.
        data: the examples.
    """

    task: str | None
    data: TaskData

    @property
    def glue(self) -> str | None:
        """The name of the GLUE task; None if it is not one."""
        return self.task if self.task in GLUE else None

    def _to_benchmark(self, indices: Sequence[Any], *, inverse: bool = False) -> list[Any]:
        """Maps label indices of the data to those of the benchmark, which may be in another order; or back."""
        if not self.glue or self.data.problem != "single_label":
            return list(indices)
        source, target = self.data.labels, GLUE[self.glue].labels
        if inverse:
            source, target = target, source
        return [None if index is None else target.index(source[index]) for index in indices]

    @property
    def reported(self) -> TaskMetrics:
        """The metrics of the task."""
        if self.data.kind == "spans":
            return SPANS
        if self.data.kind == "sentences":
            return SENTENCES
        return metrics_of(self.data.kind, self.data.problem, self.glue)

    def score(self, examples: Sequence[Any], predictions: Sequence[Prediction]) -> Scores:
        """Scores predictions, headline first. SQuAD's metrics are fractions here too, and its thresholds logits.

        Raises:
            ValueError: if an example has no label, or a prediction is not finite.
        """
        if self.data.kind == "spans":
            return Scores(_span_scores(examples, predictions))
        references = self._to_benchmark([e.tags if self.data.kind == "tags" else e.label for e in examples])
        found = score(self.reported, self._to_benchmark([e.value for e in predictions]), references, self.data.labels)
        headline = self.reported.headline
        return Scores({headline: found.values[headline], **found.values}, found.notes)

    def baseline(self, examples: Sequence[Example]) -> Scores:
        """Returns the better of the scores of the constant predictions, see `guess`."""
        scores = [
            self.score(examples, [Prediction(id=e.id, value=v) for e, v in zip(examples, guessed, strict=True)])
            for guessed in guess(self.data, examples)
        ]
        return max(scores, key=lambda each: each.values[self.reported.headline])

    def judge(
        self, scores: Scores, guessed: Scores, examples: Sequence[Example], predictions: Sequence[Prediction]
    ) -> Verdict:
        """Returns whether a model is better than guessing."""
        constant = describe_constant(self.data, examples, predictions)
        if self.data.kind != "spans":
            return judge(self.reported, scores, guessed, len(examples), constant)
        value, least = scores.values["f1"], guessed.values["f1"]
        return verdict("f1", value, least, standard_error("f1", least, len(examples)), constant)

    def file_name(self, name: str, examples: Sequence[Example]) -> str:
        """Returns the name of the file with the predictions of a set."""
        if self.glue:
            return glue_file(self.glue, name, labeled=all(map(is_labeled, examples)))
        return name + {"spans": ".json", "tags": ".conll"}.get(self.data.kind, ".jsonl")

    def write(self, name: str, examples: Sequence[Any], predictions: Sequence[Prediction], folder: Path) -> Path:
        """Writes the predictions of a set in the format of its benchmark, or as JSON lines; returns the path.

        For SQuAD 2 it also writes `NAME_null_odds.json`, which evaluate-v2.0.py reads with --na-prob-file.
        """
        path = folder / self.file_name(name, examples)
        if self.data.kind == "spans":
            write_answers(path, predictions)
            if not all(example.answers for example in examples):
                write_null_odds(folder / f"{name}_null_odds.json", predictions)
        elif self.data.kind == "tags":
            write_columns(path, examples, [each.value for each in predictions], self.data.labels)
        elif self.glue:
            values = self._to_benchmark([each.value for each in predictions])
            write_glue(
                path, self.glue, [Prediction(id=p.id, value=v) for p, v in zip(predictions, values, strict=True)]
            )
        else:
            labels = self.data.labels if self.data.problem != "regression" else ()
            write_json(path, predictions, labels, self.data.problem)
        return path

    def read(self, path: Path, examples: Sequence[Any]) -> list[Prediction]:
        """Reads the predictions of a set, in the order of its examples.

        Raises:
            UserError: if the file does not have the format of `write`, or belongs to other examples.
        """
        if self.data.kind == "spans":
            found = read_answers(path)
        elif self.data.kind == "tags":
            found = read_columns(path, self.data.labels)
        elif path.suffix == ".tsv" and self.glue:
            found = read_glue_predictions(path, self.glue)
        else:
            found = read_json(path, self.data.labels, self.data.problem)
        values = align_predictions(found, examples, path)
        if path.suffix == ".tsv":
            values = self._to_benchmark(values, inverse=True)
        return [Prediction(id=e.id, value=value) for e, value in zip(examples, values, strict=True)]


def write_answers(path: Path, predictions: Sequence[Prediction]) -> None:
    """Writes SQuAD's format: a JSON object of answers by question id, with "" for no answer."""
    answers = {prediction.id: prediction.value for prediction in predictions}
    path.write_text(json.dumps(answers, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write_null_odds(path: Path, predictions: Sequence[Prediction]) -> None:
    """Writes a JSON object of the score of "no answer" minus that of the best answer by question id, if known.

    Scores are logits, so evaluate-v2.0.py needs --na-prob-thresh 0, instead of its default of 1, for even odds.
    """
    odds = {each.id: each.probabilities[0] for each in predictions if each.probabilities}
    if odds:
        path.write_text(json.dumps(odds, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_answers(path: Path) -> list[Prediction]:
    """Reads the format of `write_answers`.

    Raises:
        UserError: if the file is not a JSON object of texts.
    """

    def prediction(answer: tuple[str, Any]) -> Prediction:
        key, value = answer
        if not isinstance(value, str):
            raise UserError(f"{path}: the answer to {key} is {value!r:.200}, expected a text")
        return Prediction(id=key, value=value)

    return read_all(read_object(path, _MAX_BYTES).items(), prediction)


def _span_scores(examples: Sequence[SpanExample], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Scores answers by the rules of SQuAD 2.0 if a question has no answer, and by those of 1.1 otherwise."""
    version = "v1" if all(example.answers for example in examples) else "v2"
    answers = {prediction.id: _answer(prediction) for prediction in predictions}
    odds = {prediction.id: prediction.probabilities[0] for prediction in predictions if prediction.probabilities}
    scores = squad_scores(examples, answers, version, odds if version == "v2" and odds else None)
    return {name: value if name.endswith("_threshold") else value / 100 for name, value in scores.items()}


def _answer(prediction: Prediction) -> str:
    """Returns the best answer, whatever the threshold; predictions read from a file have only a text."""
    answers = getattr(prediction, "answers", ())
    return answers[0].text if answers else prediction.value
