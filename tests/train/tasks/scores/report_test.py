"""Scores of classes, confusion matrices and calibration, on predictions whose scores are known."""

import pytest

from train.tasks.examples import ChoiceExample, Prediction, SpanExample, TagExample, TaskData, TextExample
from train.tasks.scores.report import calibration, class_report


def text_data(labels, problem="single_label"):
    return TaskData(kind="classification", train=[], evaluation={}, labels=labels, problem=problem)


def texts(*labels):
    return [TextExample(id=str(n), texts=("x",), label=label) for n, label in enumerate(labels)]


def predictions(*values, probabilities=None):
    return [Prediction(id=str(n), value=value, probabilities=probabilities) for n, value in enumerate(values)]


def test_the_scores_of_classes_and_the_confusion_matrix():
    """A class may have the name of an average; a class without examples is listed too."""
    data = text_data(("macro avg", "accuracy", "rare"))
    found = class_report(data, texts(0, 0, 0, 1), predictions(0, 0, 1, 1, probabilities=(0.1, 0.9, 0.0)))
    assert found["labels"] == ["macro avg", "accuracy", "rare"]
    assert found["confusion_matrix"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found["classes"]["macro avg"] == {
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(0.8),
        "support": 3,
    }
    assert found["classes"]["accuracy"]["precision"] == 0.5
    assert found["classes"]["rare"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert found["averages"]["weighted avg"]["recall"] == pytest.approx(0.75)
    assert found["calibration"]["expected_calibration_error"] == pytest.approx(0.15)


def test_several_labels_have_scores_but_no_confusion_matrix():
    data = text_data(("a", "b"), "multi_label")
    found = class_report(data, texts((1.0, 0.0), (1.0, 1.0)), predictions((1, 0), (0, 1), probabilities=(0.6, 0.4)))
    assert {name: each["recall"] for name, each in found["classes"].items()} == {"a": 0.5, "b": 1.0}
    assert found.keys() == {"classes", "averages"}


def test_tags_have_seqevals_scores_of_each_type():
    data = TaskData(kind="tags", train=[], evaluation={}, labels=("O", "B-PER", "I-PER", "B-LOC"))
    sentences = [TagExample(id="0", words=("a", "b", "c"), tags=(1, 2, 0)), TagExample(id="1", words=("d",), tags=(3,))]
    tagged = [
        Prediction(id="0", value=(1, 2, 3), probabilities=(0.9, 0.9, 0.6)),
        Prediction(id="1", value=(3,), probabilities=(1.0,)),
    ]
    found = class_report(data, sentences, tagged)
    assert found["classes"] == {
        "LOC": {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        "PER": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1},
    }
    assert found["averages"]["micro avg"]["precision"] == pytest.approx(2 / 3)
    assert found["calibration"]["expected_calibration_error"] == pytest.approx((0.2 + 0.6 + 0.0) / 4)
    nothing = [TagExample(id="0", words=("a",), tags=(0,))]
    assert "classes" not in class_report(data, nothing, [Prediction(id="0", value=(0,), probabilities=(0.9,))])


def test_the_calibration_error_of_known_bins():
    found = calibration([0.95, 0.97, 1.0, 0.62, 0.0], [True, False, True, True, False])
    assert [(each["count"], round(each["to"] * 15)) for each in found["bins"]] == [(1, 1), (1, 10), (3, 15)]
    expected = (0.0 + 0.38 + 3 * abs(2 / 3 - (0.95 + 0.97 + 1.0) / 3)) / 5
    assert found["expected_calibration_error"] == pytest.approx(expected)
    assert calibration([1.0] * 3, [True] * 3)["expected_calibration_error"] == 0.0


def test_other_tasks_have_no_classes():
    choices = [ChoiceExample(id="0", context="", choices=("a", "b"), label=1)]
    found = class_report(
        TaskData(kind="choices", train=[], evaluation={}), choices, predictions(1, probabilities=(0, 1))
    )
    assert found.keys() == {"calibration"}
    assert class_report(text_data(("score",), "regression"), texts(1.0), predictions(1.0)) == {}
    spans = TaskData(kind="spans", train=[], evaluation={})
    assert class_report(spans, [SpanExample(id="0", question="?", context="c")], predictions("c")) == {}
