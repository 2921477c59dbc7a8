"""Predictions as files: in a benchmark's own format where it has one, else as JSON lines; and read back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.errors import UserError
from train.tasks.examples import Example, Prediction, TaskData
from train.tasks.glue import GLUE_TASKS
from train.tasks.tables import Record, read_lines, read_table, read_tsv


def write_predictions(
    task: str, data: TaskData, name: str, examples: Sequence[Example], predictions: Sequence[Prediction], folder: Path
) -> Path:
    """Writes the predictions of one set.

    GLUE: TSV of index and prediction, labels as the benchmark writes them. Tags: a word a line, with its tag and the
    predicted one where the first is known, as conlleval reads it. Spans: a JSON object of answers by id, as SQuAD's
    script reads it. Others: a JSON line each, with id, prediction and probabilities.

    Returns:
        The file.
    """
    if task in GLUE_TASKS and data.labels == GLUE_TASKS[task].labels:
        path = folder / GLUE_TASKS[task].submission.get(name, f"{name}.tsv")
        lines = ["index\tprediction"]
        lines += [f"{index}\t{_glue_value(task, each.value)}" for index, each in enumerate(predictions)]
    elif data.kind == "tags":
        path = folder / f"{name}.conll"
        lines = _conll_lines(data.labels, examples, predictions)
    elif data.kind == "spans":
        path = folder / f"{name}.json"
        lines = [json.dumps({each.id: each.value for each in predictions}, ensure_ascii=False, indent=1)]
    else:
        path = folder / f"{name}.jsonl"
        lines = [json.dumps(_object(data, each), ensure_ascii=False) for each in predictions]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_predictions(path: Path, data: TaskData, examples: Sequence[Any]) -> list[Prediction]:
    """Reads predictions of a set, in any of the formats that `write_predictions` writes.

    Raises:
        UserError: if the file is not one, or has other examples than the set.
    """
    if path.suffix == ".json":
        return _answers(path, examples)
    if path.suffix == ".conll":
        return _tagged(path, data.labels, examples)
    records = list(read_tsv(path) if path.suffix == ".tsv" else read_table(path))
    if len(records) != len(examples):
        raise UserError(f"{path} has {len(records)} predictions, the set has {len(examples)} examples")
    predictions = [Prediction(id=e.id, value=_value(data, r)) for e, r in zip(examples, records, strict=True)]
    for example, record in zip(examples, records, strict=True):
        if "id" in record.values and record.get("id") != example.id:
            raise UserError(
                f"{record.where} is of example {record.get('id')}, expected {example.id}: another order or set"
            )
    return predictions


def _glue_value(task: str, value: Any) -> str:
    entry = GLUE_TASKS[task]
    if entry.problem == "regression":
        return f"{min(max(value, 0.0), 5.0):.3f}"  # the scale of STS-B
    return (entry.written or entry.labels)[value]


def _object(data: TaskData, prediction: Prediction) -> Mapping[str, Any]:
    value: Any = prediction.value
    if data.problem == "multi_label":
        value = [label for label, holds in zip(data.labels, value, strict=True) if holds]
    elif data.labels and data.problem == "single_label":
        value = data.labels[value]
    shown = {"id": prediction.id, "prediction": value}
    if data.labels and prediction.probabilities:
        rounded = (round(each, 6) for each in prediction.probabilities)
        return shown | {"probabilities": dict(zip(data.labels, rounded, strict=True))}
    return shown | ({"probabilities": list(prediction.probabilities)} if prediction.probabilities else {})


def _value(data: TaskData, record: Record) -> Any:
    given = record.get("prediction")
    if data.problem == "regression":
        try:
            return float(given)
        except (TypeError, ValueError):
            raise UserError(f"{record.where}: the prediction {given!r} is no number") from None
    if data.problem == "multi_label":
        given = [given] if isinstance(given, str) else given
        return tuple(int(label in given) for label in data.labels)
    names: Sequence[Any] = data.labels or range(10)
    if given in names:
        return names.index(given)
    if str(given).isdigit() and int(given) < len(names):  # GLUE's own 0 and 1
        return int(given)
    raise UserError(f"{record.where}: the prediction {given!r} is none of {', '.join(map(str, names))}")


def _conll_lines(labels: Sequence[str], examples: Sequence[Any], predictions: Sequence[Prediction]) -> list[str]:
    lines = []
    for example, prediction in zip(examples, predictions, strict=True):
        known = example.tags or (None,) * len(example.words)
        for word, tag, found in zip(example.words, known, prediction.value, strict=True):
            columns = [word, labels[found]] if tag is None else [word, labels[tag], labels[found]]
            lines.append(" ".join(columns))
        lines.append("")
    return lines[:-1]


def _tagged(path: Path, labels: Sequence[str], examples: Sequence[Any]) -> list[Prediction]:
    found: list[list[str]] = [[]]
    for _, line in read_lines(path):
        if line.strip():
            found[-1].append(line.split()[-1])
        elif found[-1]:
            found.append([])
    sentences = [tags for tags in found if tags]
    if [len(tags) for tags in sentences] != [len(example.words) for example in examples]:
        raise UserError(
            f"{path} has {len(sentences)} sentences, expected {len(examples)} with as many words as the set's"
        )
    unknown = sorted({tag for tags in sentences for tag in tags} - set(labels))
    if unknown:
        raise UserError(f"{path} has the tag {unknown[0]}; the set has {', '.join(labels)}")
    return [
        Prediction(id=example.id, value=tuple(map(labels.index, tags)))
        for example, tags in zip(examples, sentences, strict=True)
    ]


def _answers(path: Path, examples: Sequence[Any]) -> list[Prediction]:
    try:
        answers = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(answers, dict) or not all(isinstance(text, str) for text in answers.values()):
        raise UserError(f"{path} holds no JSON object of answers by question id")
    missing = [example.id for example in examples if example.id not in answers]
    if missing:
        raise UserError(
            f"{path} answers {len(examples) - len(missing)} of {len(examples)} questions; {missing[0]} is missing"
        )
    return [Prediction(id=example.id, value=answers[example.id]) for example in examples]
