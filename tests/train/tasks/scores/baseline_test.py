"""Scores of guessing on real data against counts, standard errors against a simulation, and the verdict."""

import math

import numpy as np
import pytest

from train.tasks.examples import ChoiceExample, Prediction, SpanExample, TagExample, TaskData, TextExample
from train.tasks.readers.glue import read_glue
from train.tasks.readers.ner import read_ner
from train.tasks.scores.baseline import describe_constant, guess, judge, standard_error
from train.tasks.scores.metrics import ACCURACY, ENTITIES, Scores, metrics_of
from train.tasks.scores.scoring import Scorer

# Scores of guessing, computed from the counts of labels in the files.
GUESSED = {
    "cola": {"matthews": 0.0},
    "sst2": {"accuracy": 444 / 872},
    "mrpc": {"accuracy": 1147 / 1725, "f1": 2 * 1147 / (1725 + 1147)},
    "stsb": {"pearson": 0.0, "spearman": 0.0},
    "rte": {"accuracy": 146 / 277},
    "wnli": {"accuracy": 40 / 71},
}


@pytest.mark.parametrize("task", GUESSED)
def test_guessing_on_real_data(shared_data, task):
    data = read_glue(task, f"files:{shared_data / 'glue'}")
    reported = metrics_of(data.kind, data.problem, task)
    dev = data.evaluation["dev"]
    guessed = Scorer(task, data).baseline(dev)
    assert {name: guessed.values[name] for name in reported.names} == pytest.approx(GUESSED[task])
    verdict = judge(reported, guessed, guessed, len(dev))
    assert verdict.guessing
    right = Scores({**dict.fromkeys(reported.names, 1.0), "mean": 1.0})
    assert not judge(reported, right, guessed, len(dev)).guessing


def test_guessing_tags_finds_nothing(shared_data):
    data = read_ner(f"files:{shared_data / 'ner' / 'WNUT17'}")
    guessed = Scorer(None, data).baseline(data.evaluation["dev"])
    assert set(guessed.values.values()) == {0.0}
    assert judge(ENTITIES, guessed, guessed, 1009).guessing
    assert not judge(ENTITIES, Scores({"entity_f1": 0.01}), guessed, 1009).guessing


def choices(*labels):
    return [ChoiceExample(id=str(n), context="", choices=("a", "b"), label=label) for n, label in enumerate(labels)]


def test_guessing_predicts_the_first_of_the_most_frequent_labels():
    data = TaskData(kind="choices", train=choices(1, 0, 0, 1, 1, 0), evaluation={})
    assert guess(data, choices(0, None)) == [[0, 0]]


def test_the_better_constant_counts():
    """A model that predicts 1 for all of 442 zeros and 558 ones has learned no more than one that predicts 0."""
    data = TaskData(kind="choices", train=choices(0, 0, 1), evaluation={})
    held_out = choices(*[0] * 442, *[1] * 558)
    assert Scorer(None, data).baseline(held_out).values == {"accuracy": 0.558}
    assert Scorer(None, data).baseline(choices(0, 0, 1)).values == {"accuracy": pytest.approx(2 / 3)}


def test_a_model_that_predicts_one_class_is_guessing():
    data = TaskData(kind="classification", train=[], evaluation={}, labels=("bad", "good"))
    texts = [TextExample(id=str(n), texts=("x",), label=n % 2) for n in range(4)]
    same, other = (
        [Prediction(id=str(n), value=value) for n, value in enumerate(each)] for each in ([1] * 4, [1, 0] * 2)
    )
    constant = describe_constant(data, texts, same)
    assert constant == "the model predicts 'good' for every example"
    assert describe_constant(data, texts, other) == ""
    assert describe_constant(data, texts[1:2], same[:1]) == ""  # it is right
    verdict = judge(ACCURACY, Scores({"accuracy": 0.9}), Scores({"accuracy": 0.5}), 4, constant)
    assert verdict.guessing
    assert verdict.message.endswith(f"): {constant}")
    tags = TaskData(kind="tags", train=[], evaluation={}, labels=("O", "B-PER"))
    words = [TagExample(id="0", words=("a", "b"), tags=(0, 1))]
    assert describe_constant(tags, words, [Prediction(id="0", value=(0, 0))]).endswith("predicts 'O' for every word")


def test_guessing_counts_the_examples_without_a_training_set():
    data = TaskData(kind="choices", train=[], evaluation={})
    assert guess(data, choices(1, 1, 0)) == [[1, 1, 1]]
    with pytest.raises(ValueError, match="have labels to guess from"):
        guess(data, choices(None))


def test_guessing_several_labels_and_numbers_and_answers():
    def data(problem, *labels):
        examples = [TextExample(id=str(n), texts=("x",), label=label) for n, label in enumerate(labels)]
        names = ("a", "b") if problem == "multi_label" else ("a",)
        return TaskData(kind="classification", train=examples, evaluation={}, labels=names, problem=problem)

    several = data("multi_label", (1.0, 0.0), (1.0, 1.0), (1.0, 0.0))
    assert guess(several, several.train) == [[(1.0, 0.0)] * 3]
    assert Scorer(None, several).baseline(several.train).values["micro_f1"] == pytest.approx(2 * 3 / (3 + 4))
    numbers = data("regression", 1.0, 4.0)
    assert guess(numbers, numbers.train[:1]) == [[2.5], [1.0]]
    spans = TaskData(kind="spans", train=[], evaluation={})
    assert guess(spans, [SpanExample(id="q", question="?", context="c")]) == [[""]]


def test_standard_errors_equal_those_of_a_simulation():
    random = np.random.default_rng(0)
    labels = random.random((2000, 300)) < 0.7
    assert standard_error("accuracy", 0.7, 300) == pytest.approx(labels.mean(1).std(), rel=0.05)
    numbers = random.normal(size=(2, 2000, 300))
    found = [np.corrcoef(a, b)[0, 1] for a, b in zip(*numbers, strict=True)]
    assert standard_error("pearson", 0.0, 300) == pytest.approx(np.std(found), rel=0.05)
    found = [np.corrcoef(a, b)[0, 1] for a, b in zip(labels[:1000], labels[1000:], strict=True)]
    assert standard_error("matthews", 0.0, 300) == pytest.approx(np.std(found), rel=0.05)
    with pytest.raises(ValueError, match="of 'bleu' is not known"):
        standard_error("bleu", 0.0, 300)


def test_nan_is_no_better_than_guessing():
    verdict = judge(ACCURACY, Scores({"accuracy": math.nan}), Scores({"accuracy": 0.5}), 100)
    assert verdict.guessing
    assert verdict.message.startswith("no better than guessing (accuracy nan")


def test_the_verdict_changes_at_one_standard_error():
    guessed = Scores({"accuracy": 0.5})
    error = math.sqrt(0.25 / 100)
    below, above = (judge(ACCURACY, Scores({"accuracy": 0.5 + error + d}), guessed, 100) for d in (-1e-9, 1e-9))
    assert (below.guessing, above.guessing) == (True, False)
    assert below.standard_error == pytest.approx(error)
