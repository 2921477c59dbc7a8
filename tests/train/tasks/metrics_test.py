"""Scores against hand counts, baselines, verdicts."""

import numpy as np
import pytest
from scipy import stats

from train.tasks.baseline import baseline, verdict
from train.tasks.examples import ChoiceExample, Prediction, TagExample, TaskData, TextExample
from train.tasks.metrics import score


def data_of(
    problem="single_label", labels=("no", "yes"), metrics=("accuracy",), train=(), dev=(), kind="classification"
):
    return TaskData(
        kind=kind, train=list(train), evaluation={"dev": list(dev)}, labels=labels, problem=problem, metrics=metrics
    )


def texts(*labels):
    return [TextExample(id=str(number), texts=("x",), label=label) for number, label in enumerate(labels)]


def predicted(*values):
    return [Prediction(id=str(number), value=value) for number, value in enumerate(values)]


def test_classes():
    metrics = ("accuracy_f1", "accuracy", "f1", "matthews", "macro_f1")
    found = score(data_of(metrics=metrics), texts(1, 1, 1, 0, 0), predicted(1, 1, 0, 0, 1))
    # True positives 2, false positives 1, false negatives 1, true negatives 1.
    f1, other = 2 * 2 / (2 * 2 + 1 + 1), 2 * 1 / (2 * 1 + 1 + 1)
    matthews = (2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2)
    assert list(found) == list(metrics)
    assert found == pytest.approx(
        {"accuracy_f1": (0.6 + f1) / 2, "accuracy": 0.6, "f1": f1, "matthews": matthews, "macro_f1": (f1 + other) / 2}
    )


def test_a_model_that_says_one_thing_scores_nothing_and_warns_of_nothing():
    found = score(data_of(metrics=("matthews", "f1")), texts(1, 0, 1), predicted(0, 0, 0))
    assert found == {"matthews": 0.0, "f1": 0.0}
    numbers = data_of("regression", ("score",), ("pearson_spearman", "pearson", "spearman"))
    assert set(score(numbers, texts(1.0, 2.0, 3.0), predicted(2.5, 2.5, 2.5)).values()) == {0.0}


def test_numbers():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 30))
    data = data_of("regression", ("score",), ("pearson_spearman", "pearson", "spearman"))
    found = score(data, texts(*x.tolist()), predicted(*y.tolist()))
    pearson, spearman = np.corrcoef(x, y)[0, 1], np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1]
    expected = {"pearson_spearman": (pearson + spearman) / 2, "pearson": pearson, "spearman": spearman}
    assert found == pytest.approx(expected)


def test_several_labels():
    data = data_of("multi_label", ("a", "b"), ("micro_f1", "macro_f1", "accuracy"))
    found = score(data, texts((1.0, 0.0), (1.0, 1.0), (0.0, 0.0)), predicted((1, 0), (1, 0), (0, 0)))
    assert found == pytest.approx({"micro_f1": 2 * 2 / (2 * 2 + 1), "macro_f1": 0.5, "accuracy": 2 / 3})


def test_entities_count_whole():
    labels = ("O", "B-A", "B-B", "I-A", "I-B")
    data = data_of(
        kind="tags", labels=labels, metrics=("entity_f1", "entity_precision", "entity_recall", "word_accuracy")
    )
    examples = [
        TagExample(id="0", words=("a", "b", "c"), tags=(1, 3, 0)),
        TagExample(id="1", words=("d", "e"), tags=(2, 0)),
    ]
    # The first entity is cut short, the second found, and a third made up.
    found = score(data, examples, predicted((1, 0, 0), (2, 1)))
    assert found == pytest.approx(
        {"entity_f1": 2 * 1 / (2 + 3), "entity_precision": 1 / 3, "entity_recall": 1 / 2, "word_accuracy": 3 / 5}
    )


def test_a_guess_is_learnt_from_training():
    data = data_of(train=texts(1, 1, 0), dev=texts(0, 0, 1, 0))
    assert baseline(data).text == "always yes"
    assert baseline(data).scores == {"accuracy": 0.25}
    numbers = data_of("regression", ("score",), ("pearson",), texts(1.0, 4.0), texts(1.0, 2.0))
    assert (baseline(numbers).text, baseline(numbers).scores) == ("always 2.5", {"pearson": 0.0})
    several = data_of("multi_label", ("a", "b"), ("accuracy",), texts((1.0, 0.0), (1.0, 1.0)), texts((1.0, 0.0)))
    assert baseline(several).scores == {"accuracy": 1.0}
    words = [TagExample(id="0", words=("a", "b", "c"), tags=(0, 0, 1))]
    tags = data_of(kind="tags", labels=("O", "B-A"), metrics=("entity_f1", "word_accuracy"), train=words, dev=words)
    assert baseline(tags).text == "O for every word"
    assert baseline(tags).scores == pytest.approx({"entity_f1": 0.0, "word_accuracy": 2 / 3})
    choices = [ChoiceExample(id="0", context="x", choices=("a", "b"), label=1)]
    assert baseline(data_of(kind="choices", labels=(), train=choices, dev=choices)).text == "always choice 1"


@pytest.mark.parametrize(("reached", "collapsed"), [(0.50, True), (0.59, True), (0.61, False)])
def test_a_verdict_allows_for_chance(reached, collapsed):
    guess = baseline(data_of(train=texts(1), dev=texts(*[0, 1] * 50)))
    found = verdict(guess, {"accuracy": reached}, 100)  # the standard error is 0.05
    assert found.collapsed is collapsed
    assert ("lower optimizer.learning_rate" in found.text) is collapsed


def test_a_correlation_of_nothing_is_no_better_than_guessing():
    data = data_of("regression", ("score",), ("pearson",), texts(1.0, 4.0), texts(*map(float, range(100))))
    assert verdict(baseline(data), {"pearson": 0.15}, 100).collapsed
    assert not verdict(baseline(data), {"pearson": 0.25}, 100).collapsed
