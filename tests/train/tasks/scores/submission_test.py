"""Predictions written and read back, and errors for invalid files."""

import json

import pytest

from train.errors import UserError
from train.tasks.examples import ChoiceExample, Prediction, TagExample, align_predictions
from train.tasks.readers.glue import read_glue
from train.tasks.readers.glue_table import GLUE
from train.tasks.scores.scoring import read_answers
from train.tasks.scores.submission import (
    glue_file,
    read_columns,
    read_glue_predictions,
    read_json,
    write_columns,
    write_glue,
    write_json,
)

# File names of the sample submission of gluebenchmark.com.
FILES = "AX CoLA MNLI-m MNLI-mm MRPC QNLI QQP RTE SST-2 STS-B WNLI"


def test_glue_files_have_the_required_names():
    found = {glue_file(task, name, labeled=False) for task, row in GLUE.items() for name in row.test}
    assert found == {f"{name}.tsv" for name in FILES.split()}
    assert glue_file("mnli", "matched", labeled=False) == "MNLI-m.tsv"
    assert glue_file("cola", "dev", labeled=True) == "CoLA-dev.tsv"


def test_evaluation_and_test_sets_of_one_name_have_different_files():
    """The evaluation sets of MNLI have the names of its test sets, and must not be submitted."""
    files = [glue_file("mnli", name, labeled=labeled) for name in GLUE["mnli"].test for labeled in (False, True)]
    assert files == ["MNLI-m.tsv", "MNLI-matched.tsv", "MNLI-mm.tsv", "MNLI-mismatched.tsv"]


@pytest.mark.parametrize("task", GLUE)
def test_glue_predictions_round_trip(tmp_path, task):
    numbers = task == "stsb"
    labels = [2.125, 0.0, 5.0] if numbers else range(len(GLUE[task].labels))
    predictions = [Prediction(id=str(n), value=labels[n % len(labels)]) for n in range(12)]
    path = tmp_path / "new" / "file.tsv"
    write_glue(path, task, predictions[::-1])
    assert read_glue_predictions(path, task) == predictions
    lines = path.read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert [line.split("\t")[0] for line in lines[1:]] == [str(n) for n in range(12)]
    expected = ["2.125", "0.000", "5.000"] if numbers else list(GLUE[task].written)
    assert [line.split("\t")[1] for line in lines[1:4]] == (expected * 2)[:3]


def test_glue_numbers_are_clipped(tmp_path):
    write_glue(tmp_path / "a.tsv", "stsb", [Prediction(id="0", value=-0.3), Prediction(id="1", value=5.7)])
    assert [one.value for one in read_glue_predictions(tmp_path / "a.tsv", "stsb")] == [0.0, 5.0]


def test_glue_predictions_of_a_real_set_equal_its_labels(shared_data, tmp_path):
    dev = read_glue("rte", f"files:{shared_data / 'glue'}").evaluation["dev"]
    write_glue(tmp_path / "a.tsv", "rte", [Prediction(id=e.id, value=e.label) for e in dev])
    found = align_predictions(read_glue_predictions(tmp_path / "a.tsv", "rte"), dev, "a.tsv")
    assert found == [e.label for e in dev]
    gold = [line.split("\t")[3] for line in (shared_data / "glue" / "RTE" / "dev.tsv").read_text().splitlines()[1:]]
    assert [line.split("\t")[1] for line in (tmp_path / "a.tsv").read_text().splitlines()[1:]] == gold


def test_glue_predictions_need_the_whole_set(tmp_path):
    with pytest.raises(UserError, match="not the numbers from 0 to 1"):
        write_glue(tmp_path / "a.tsv", "rte", [Prediction(id="0", value=0), Prediction(id="2", value=0)])


LABELS = ("O", "B-X", "I-X")
SENTENCES = [
    TagExample(id="0", words=("a", "b", "c"), tags=(0, 1, 2)),
    TagExample(id="1", words=("d",), tags=(1,)),
]


def test_columns_are_word_true_tag_and_predicted_tag(tmp_path):
    path = tmp_path / "a.txt"
    write_columns(path, SENTENCES, [(1, 2, 0), (0,)], LABELS)
    assert path.read_text() == "a O B-X\nb B-X I-X\nc I-X O\n\nd B-X O\n\n"
    assert align_predictions(read_columns(path, LABELS), SENTENCES, path) == [(1, 2, 0), (0,)]
    unknown = [TagExample(id="0", words=("a", "b"))]
    write_columns(path, unknown, [(1, 2)], LABELS)
    assert path.read_text() == "a B-X\nb I-X\n\n"
    assert align_predictions(read_columns(path, LABELS), unknown, path) == [(1, 2)]


def test_empty_words_and_spaces_are_replaced(tmp_path):
    path = tmp_path / "p.conll"
    write_columns(path, [TagExample(id="0", words=("", " ", "New York"), tags=(0, 0, 0))], [(0, 1, 0)], LABELS)
    lines = path.read_text().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["_", "_", "New_York", ""]
    assert all(len(line.split()) == 3 for line in lines[:3])
    assert read_columns(path, LABELS)[0].value == (0, 1, 0)


@pytest.mark.parametrize("identifier", [7, "7", " 7"])
def test_ids_of_predictions_may_be_numbers(tmp_path, identifier):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": identifier, "prediction": "a"}), encoding="utf-8-sig")
    assert read_json(path, ("a", "b")) == [Prediction(id="7", value=0)]


def test_all_invalid_predictions_are_one_error(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"id": n, "prediction": "abcd"[n % 4]}) + "\n" for n in range(40)))
    with pytest.raises(UserError) as caught:
        read_json(path, ("a", "b"))
    first, *shown, more = str(caught.value).splitlines()
    assert (first, len(shown), more) == ("20 errors:", 10, "  and 10 more")
    path.write_text(json.dumps({"1": "a", "2": 3, "3": None}), encoding="utf-8-sig")
    with pytest.raises(
        UserError, match=r"2 errors:\n.*the answer to 2 is 3, expected a text\n.*the answer to 3 is None"
    ):
        read_answers(path)


def test_columns_of_other_sentences_raise(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a O\n\nd O\n")
    with pytest.raises(UserError, match="predicts 1 tags for sentence 0, which has 3 words"):
        align_predictions(read_columns(path, LABELS), SENTENCES, path)
    path.write_text("a O\nb B-Y\n")
    with pytest.raises(UserError, match="line 2: unknown label 'B-Y'"):
        read_columns(path, LABELS)


@pytest.mark.parametrize(
    ("labels", "problem", "values", "written"),
    [
        (("no", "yes"), "single_label", [1, 0], ["yes", "no"]),
        (("no", "yes"), "multi_label", [(1, 1), (0, 0)], [["no", "yes"], []]),
        (("score",), "regression", [-0.25, 1e-7], [-0.25, 1e-7]),
        ((), "single_label", [3, 0], [3, 0]),
    ],
)
def test_json_predictions_round_trip(tmp_path, labels, problem, values, written):
    shares = (0.25, 0.75) if len(labels) == 2 else None if labels else (0.0, 0.25, 0.25, 0.5)
    predictions = [Prediction(id=f"ü{n}", value=value, probabilities=shares) for n, value in enumerate(values)]
    path = tmp_path / "a.jsonl"
    write_json(path, predictions, labels, problem)
    assert read_json(path, labels, problem) == predictions
    objects = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [one["prediction"] for one in objects] == written
    if len(labels) == 2:
        assert objects[0]["probabilities"] == {"no": 0.25, "yes": 0.75}


@pytest.mark.parametrize(
    ("line", "labels", "problem", "words"),
    [
        ('{"id": "0"}', ("a", "b"), "single_label", "has no column 'prediction'"),
        ('{"prediction": "a"}', ("a", "b"), "single_label", "has no column 'id'"),
        ('{"id": "0", "prediction": "c"}', ("a", "b"), "single_label", "unknown label 'c'"),
        ('{"id": "0", "prediction": ["a"]}', ("a", "b"), "single_label", "unknown label"),
        ('{"id": "0", "prediction": "a"}', ("a", "b"), "multi_label", "expected a list of labels"),
        ('{"id": "0", "prediction": "x"}', ("a",), "regression", "'x' is not a finite number"),
        ('{"id": "0", "prediction": "a"}', (), "single_label", "expected the index of a choice"),
        ('{"id": "0", "prediction": "a", "probabilities": {"a": 1}}', ("a", "b"), "single_label", "for each label"),
        (
            '{"id": 0, "prediction": "a", "probabilities": {"b": 1, "a": 0}}',
            ("a",),
            "single_label",
            "has more labels",
        ),
    ],
)
def test_invalid_json_predictions_raise(tmp_path, line, labels, problem, words):
    (tmp_path / "a.jsonl").write_text(line)
    with pytest.raises(UserError) as caught:
        read_json(tmp_path / "a.jsonl", labels, problem)
    assert words in str(caught.value)
    assert "a.jsonl, line 1" in str(caught.value)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["x", "y", "x"], "file predicts 'x' twice"),
        (["x"], "file has no prediction for 1 of the 2 examples, for example 'y'"),
        (["x", "y", "z"], "file has 1 prediction(s) for ids that are not among"),
    ],
)
def test_predictions_have_to_match_the_examples(ids, words):
    examples = [ChoiceExample(id=name, context="", choices=("a", "b")) for name in ("x", "y")]
    assert align_predictions([Prediction(id="y", value=1), Prediction(id="x", value=0)], examples, "file") == [0, 1]
    with pytest.raises(UserError) as caught:
        align_predictions([Prediction(id=name, value=0) for name in ids], examples, "file")
    assert words in str(caught.value)
