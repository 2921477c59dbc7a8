"""Scores of guessing on real data against counts, standard errors against a simulation, and the verdict."""

import math

import numpy as np
import pytest

from train.tasks.examples import ChoiceExample, SpanExample, TaskData, TextExample
from train.tasks.readers.glue import read_glue
from train.tasks.readers.ner import read_ner
from train.tasks.scores.baseline import CURE, baseline, guess, judge, standard_error
from train.tasks.scores.metrics import ACCURACY, ENTITIES, MULTI_LABEL, Scores, metrics_of

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
    guessed = baseline(data, dev, reported)
    assert {name: guessed.values[name] for name in reported.names} == pytest.approx(GUESSED[task])
    verdict = judge(reported, guessed, guessed, len(dev))
    assert verdict.guessing
    assert CURE in verdict.message
    right = Scores({**dict.fromkeys(reported.names, 1.0), "mean": 1.0})
    assert not judge(reported, right, guessed, len(dev)).guessing


def test_guessing_tags_finds_nothing(shared_data):
    data = read_ner(f"files:{shared_data / 'ner' / 'WNUT17'}")
    guessed = baseline(data, data.evaluation["dev"], ENTITIES)
    assert set(guessed.values.values()) == {0.0}
    assert judge(ENTITIES, guessed, guessed, 1009).guessing
    assert not judge(ENTITIES, Scores({"entity_f1": 0.01}), guessed, 1009).guessing


def choices(*labels):
    return [ChoiceExample(id=str(n), context="", choices=("a", "b"), label=label) for n, label in enumerate(labels)]


def test_guessing_predicts_the_first_of_the_most_frequent_labels():
    data = TaskData(kind="choices", train=choices(1, 0, 0, 1, 1, 0), evaluation={})
    assert guess(data, choices(1, None)) == [0, 0]
    assert baseline(data, choices(1, 1, 0, 1), ACCURACY).values == {"accuracy": 0.25}


def test_guessing_counts_the_examples_without_a_training_set():
    data = TaskData(kind="choices", train=[], evaluation={})
    assert guess(data, choices(1, 1, 0)) == [1, 1, 1]
    with pytest.raises(ValueError, match="have labels to guess from"):
        guess(data, choices(None))


def test_guessing_several_labels_and_numbers_and_answers():
    def data(problem, *labels):
        examples = [TextExample(id=str(n), texts=("x",), label=label) for n, label in enumerate(labels)]
        names = ("a", "b") if problem == "multi_label" else ("a",)
        return TaskData(kind="classification", train=examples, evaluation={}, labels=names, problem=problem)

    several = data("multi_label", (1.0, 0.0), (1.0, 1.0), (1.0, 0.0))
    assert guess(several, several.train) == [(1.0, 0.0)] * 3
    assert baseline(several, several.train, MULTI_LABEL).values["micro_f1"] == pytest.approx(2 * 3 / (3 + 4))
    assert guess(data("regression", 1.0, 4.0), several.train[:1]) == [2.5]
    spans = TaskData(kind="spans", train=[], evaluation={})
    assert guess(spans, [SpanExample(id="q", question="?", context="c")]) == [""]


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
    assert "lower learning rate" in below.message
    assert "lower learning rate" not in above.message
    assert below.standard_error == pytest.approx(error)
