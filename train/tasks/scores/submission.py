"""Writes and reads files of predictions in the formats of the benchmarks."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from train.errors import UserError
from train.tasks.examples import Prediction, Problem, TagExample
from train.tasks.readers.glue_table import GLUE
from train.tasks.readers.label_names import label_index, label_name, parse_number
from train.tasks.readers.lines import read_all, read_lines
from train.tasks.readers.tables import Row, json_rows, tsv_rows


def glue_file(task: str, name: str, *, labeled: bool) -> str:
    """Returns the name of the file with the predictions of a set, which gluebenchmark.com requires for a submission.

    Args:
        task: a key of `GLUE`.
        name: the name of the set.
        labeled: whether its labels are known; it is then not submitted, and the file is named after task and set.
    """
    default = f"{GLUE[task].folder}-{name}.tsv"
    return default if labeled else GLUE[task].submitted.get(name, default)


def write_glue(path: Path, task: str, predictions: Sequence[Prediction]) -> None:
    """Writes GLUE's format: a header, then one line with index and label per example, sorted by index.

    Labels are written as in the files of the task. Numbers of STS-B are clipped to its range, 0 to 5, and have three
    decimals.

    Raises:
        UserError: if the ids are not 0, 1, 2, ..., without which the benchmark rejects the file.
    """
    ordered = sorted(predictions, key=lambda prediction: (len(prediction.id), prediction.id))
    if [prediction.id for prediction in ordered] != [str(number) for number in range(len(ordered))]:
        raise UserError(
            f"{path}: the ids of {task} are not the numbers from 0 to {len(ordered) - 1}. Is the set complete?"
        )
    _write(path, ["index\tprediction", *(f"{one.id}\t{_glue_label(task, one.value)}" for one in ordered)])


def read_glue_predictions(path: Path, task: str) -> list[Prediction]:
    """Reads the format of `write_glue`.

    Raises:
        UserError: if a column is missing, or a prediction is not a label of the task.
    """
    return read_all(tsv_rows(path), lambda row: Prediction(id=row.name("index"), value=_glue_value(task, row)))


def _glue_label(task: str, value: Any) -> str:
    if GLUE[task].problem == "regression":
        least, largest = GLUE[task].scale
        return f"{min(max(float(value), least), largest):.3f}"
    return GLUE[task].written[value]


def _glue_value(task: str, row: Row) -> int | float:
    written = row.name("prediction")
    if GLUE[task].problem == "regression":
        return parse_number(written, row.location)
    return label_index(written, GLUE[task].written, row.location, f"The labels of {GLUE[task].folder}")


def write_columns(
    path: Path, examples: Sequence[TagExample], predictions: Sequence[Sequence[int]], labels: Sequence[str]
) -> None:
    """Writes the format of conlleval: word, true tag and predicted tag per line, and a blank line after each sentence.

    If the true tags are unknown, there are two columns, word and predicted tag.
    """
    lines: list[str] = []
    for example, tags in zip(examples, predictions, strict=True):
        columns = (example.tags, tags) if example.tags is not None else (tags,)
        named = [[labels[tag] for tag in column] for column in columns]
        # conlleval splits lines at white space, so a word must not be empty or contain spaces.
        words = [word.replace(" ", "_") or "_" for word in example.words]
        lines += [" ".join(fields) for fields in zip(words, *named, strict=True)]
        lines.append("")
    _write(path, lines)


def read_columns(path: Path, labels: Sequence[str]) -> list[Prediction]:
    """Reads the last column of the format of `write_columns`; ids are the numbers of the sentences.

    Raises:
        UserError: if a tag is not one of the labels.
    """
    sentences: list[list[int]] = [[]]
    for number, line in read_lines(path):
        if line:
            tag = line.rpartition(" ")[2]
            sentences[-1].append(label_index(tag, labels, f"{path}, line {number}", "The tags are"))
        elif sentences[-1]:
            sentences.append([])
    return [Prediction(id=str(n), value=tuple(tags)) for n, tags in enumerate(filter(None, sentences))]


def write_json(
    path: Path, predictions: Iterable[Prediction], labels: Sequence[str] = (), problem: Problem = "single_label"
) -> None:
    """Writes one JSON object per line: id, prediction and, if known, probabilities.

    A prediction is the name of a label, a list of names (multi_label), a number (regression), or the index of a choice.

    Args:
        path: the file.
        predictions: the predictions.
        labels: names of the labels; empty for choices.
        problem: the kind of label of a text.
    """
    lines = []
    for one in predictions:
        fields: dict[str, Any] = {"id": one.id, "prediction": _named(one.value, labels, problem)}
        if one.probabilities is not None:
            probabilities = [float(p) for p in one.probabilities]
            fields["probabilities"] = dict(zip(labels, probabilities, strict=True)) if labels else probabilities
        lines.append(json.dumps(fields, ensure_ascii=False, allow_nan=False))
    _write(path, lines)


def read_json(path: Path, labels: Sequence[str] = (), problem: Problem = "single_label") -> list[Prediction]:
    """Reads the format of `write_json`.

    Raises:
        UserError: if a line is not such an object, or a prediction is not one of the labels.
    """
    return read_all(json_rows(path), lambda row: _prediction(row, labels, problem))


def _named(value: Any, labels: Sequence[str], problem: Problem) -> Any:
    if problem == "multi_label":
        return [name for name, holds in zip(labels, value, strict=True) if holds]
    if problem == "regression":
        return float(value)
    return labels[value] if labels else int(value)


def _prediction(row: Row, labels: Sequence[str], problem: Problem) -> Prediction:
    value = _value(row.value("prediction"), labels, problem, row.location)
    return Prediction(id=row.name("id"), value=value, probabilities=_probabilities(row, labels))


def _probabilities(row: Row, labels: Sequence[str]) -> tuple[float, ...] | None:
    written = row.fields.get("probabilities")
    if written is None:
        return None
    if isinstance(written, dict) and written.keys() == set(labels):
        written = [written[name] for name in labels]
    elif isinstance(written, dict) and set(written) > set(labels):
        raise UserError(
            f"{row.location} has probabilities of the labels {', '.join(written)}, but the task has "
            f"{', '.join(labels)}. If the model has more labels than the data, give the labels of the model: "
            "--config.data.labels=..."
        )
    if not isinstance(written, list):
        raise UserError(f"{row.location}: expected a probability for each label, got {written!r:.200}.")
    return tuple(parse_number(p, row.location) for p in written)


def _value(written: Any, labels: Sequence[str], problem: Problem, location: str) -> Any:
    if problem == "regression":
        return parse_number(written, location)
    if problem == "multi_label":
        if not isinstance(written, list):
            raise UserError(f"{location}: the prediction is {written!r}, expected a list of labels.")
        held = {label_index(label_name(name), labels, location, "The labels are") for name in written}
        return tuple(int(n in held) for n in range(len(labels)))
    if labels:
        return label_index(label_name(written), labels, location, "The labels are")
    if not isinstance(written, int) or written < 0:
        raise UserError(f"{location}: the prediction is {written!r}, expected the index of a choice.")
    return written


def _write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
