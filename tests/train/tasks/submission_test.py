"""Predictions are written as each benchmark wants them, and read back."""

import json

import pytest

from train.errors import UserError
from train.tasks.examples import ChoiceExample, Prediction, SpanExample, TagExample, TaskData, TextExample
from train.tasks.glue import GLUE_TASKS
from train.tasks.submission import read_predictions, write_predictions


def data_of(kind="classification", **fields):
    return TaskData(kind=kind, train=[], evaluation={}, **fields)


def texts(count):
    return [TextExample(id=str(number), texts=("x",)) for number in range(count)]


def predicted(examples, values, probabilities=()):
    return [Prediction(id=e.id, value=v, probabilities=probabilities) for e, v in zip(examples, values, strict=True)]


@pytest.mark.parametrize(
    ("task", "values", "name", "lines"),
    [
        ("sst2", (1, 0), "SST-2.tsv", ["0\t1", "1\t0"]),
        ("rte", (1, 0), "RTE.tsv", ["0\tnot_entailment", "1\tentailment"]),
        ("stsb", (5.7, 2.25), "STS-B.tsv", ["0\t5.000", "1\t2.250"]),
    ],
)
def test_glue_is_handed_in_as_a_table(tmp_path, task, values, name, lines):
    entry, examples = GLUE_TASKS[task], texts(2)
    data = data_of(labels=entry.labels, problem=entry.problem)
    path = write_predictions(task, data, "test", examples, predicted(examples, values), tmp_path)
    assert path.name == name
    assert path.read_text().split("\n") == ["index\tprediction", *lines, ""]
    read = [each.value for each in read_predictions(path, data, examples)]
    assert read == ([5.0, 2.25] if task == "stsb" else list(values))


def test_tags_are_columns(tmp_path):
    data = data_of("tags", labels=("O", "B-A"))
    known = [TagExample(id="0", words=("a", "b"), tags=(0, 1)), TagExample(id="1", words=("c",), tags=(0,))]
    predictions = predicted(known, [(1, 1), (0,)])
    path = write_predictions("ner", data, "dev", known, predictions, tmp_path)
    assert path.read_text() == "a O B-A\nb B-A B-A\n\nc O O\n"
    assert read_predictions(path, data, known) == predictions
    with pytest.raises(UserError, match="has 2 sentences, expected 1"):
        read_predictions(path, data, known[:1])
    path.write_text("a O B-C\nb O O\n\nc O O\n")
    with pytest.raises(UserError, match="has the tag B-C"):
        read_predictions(path, data, known)


def test_answers_are_an_object(tmp_path):
    examples = [SpanExample(id="q1", question="who?", context="me"), SpanExample(id="q2", question="é?", context="é")]
    predictions = predicted(examples, ["me", "é"])
    path = write_predictions("squad", data_of("spans"), "dev", examples, predictions, tmp_path)
    assert json.loads(path.read_text()) == {"q1": "me", "q2": "é"}
    assert read_predictions(path, data_of("spans"), examples) == predictions
    path.write_text('{"q1": "me"}')
    with pytest.raises(UserError, match="answers 1 of 2 questions; q2 is missing"):
        read_predictions(path, data_of("spans"), examples)


def test_others_are_lines(tmp_path):
    data, examples = data_of(labels=("no", "yes")), texts(2)
    path = write_predictions("classify", data, "dev", examples, predicted(examples, (1, 0), (0.25, 0.75)), tmp_path)
    first = json.loads(path.read_text().split("\n")[0])
    assert first == {"id": "0", "prediction": "yes", "probabilities": {"no": 0.25, "yes": 0.75}}
    assert [each.value for each in read_predictions(path, data, examples)] == [1, 0]
    with pytest.raises(UserError, match="has 2 predictions, the set has 3"):
        read_predictions(path, data, texts(3))
    with pytest.raises(UserError, match="is of example 0, expected 5"):
        read_predictions(path, data, [TextExample(id="5", texts=("x",)), *texts(1)])
    path.write_text('{"id": "0", "prediction": "maybe"}\n')
    with pytest.raises(UserError, match="the prediction 'maybe' is none of no, yes"):
        read_predictions(path, data, texts(1))
    several = data_of(labels=("a", "b", "c"), problem="multi_label")
    path = write_predictions("classify", several, "dev", texts(1), predicted(texts(1), [(1, 0, 1)]), tmp_path)
    assert json.loads(path.read_text())["prediction"] == ["a", "c"]
    assert read_predictions(path, several, texts(1))[0].value == (1, 0, 1)
    choices = [ChoiceExample(id="0", context="x", choices=("a", "b"))]
    path = write_predictions("swag", data_of("choices"), "dev", choices, predicted(choices, [1], (0.2, 0.8)), tmp_path)
    assert json.loads(path.read_text()) == {"id": "0", "prediction": 1, "probabilities": [0.2, 0.8]}
    assert read_predictions(path, data_of("choices"), choices)[0].value == 1
