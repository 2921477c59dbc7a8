"""Every metric against its formula, its extremes, and the metrics of each task."""

import itertools
import math

import numpy as np
import pytest

from train.tasks.readers.glue_table import GLUE
from train.tasks.readers.ner import to_bio
from train.tasks.scores.baseline import judge
from train.tasks.scores.metrics import (
    ACCURACY,
    ACCURACY_AND_F1,
    ACCURACY_AND_MATTHEWS,
    CORRELATIONS,
    ENTITIES,
    MATTHEWS,
    MULTI_LABEL,
    TaskMetrics,
    metrics_of,
    score,
)

RANDOM = np.random.default_rng(0)


def counts(predictions, references):
    """Counts true positives, false positives, false negatives and true negatives."""
    pairs = [(bool(p), bool(r)) for p, r in zip(predictions, references, strict=True)]
    return tuple(pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False)))


def f1_of(true, false_positive, false_negative):
    total = 2 * true + false_positive + false_negative
    return 2 * true / total if total else 0.0


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_two_labels_equal_their_formulas(seed):
    random = np.random.default_rng(seed)
    predictions, references = random.integers(0, 2, (2, 50)).tolist()
    tp, fp, fn, tn = counts(predictions, references)
    found = score(ACCURACY_AND_F1, predictions, references).values
    assert found["accuracy"] == pytest.approx((tp + tn) / 50)
    assert found["f1"] == pytest.approx(f1_of(tp, fp, fn))
    assert found["mean"] == pytest.approx((found["accuracy"] + found["f1"]) / 2)
    matthews = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert score(MATTHEWS, predictions, references).values == {"matthews": pytest.approx(matthews)}


def ranks(values):
    return [sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2 for value in values]


def pearson(a, b):
    a, b = np.asarray(a) - np.mean(a), np.asarray(b) - np.mean(b)
    return (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())


def test_correlations_equal_their_formulas():
    references = RANDOM.integers(0, 6, 40).astype(float)
    predictions = np.round(references + RANDOM.normal(size=40), 1)
    found = score(CORRELATIONS, predictions.tolist(), references.tolist())
    assert found.values["pearson"] == pytest.approx(pearson(predictions, references))
    assert found.values["spearman"] == pytest.approx(pearson(ranks(predictions), ranks(references)))
    assert found.values["mean"] == pytest.approx((found.values["pearson"] + found.values["spearman"]) / 2)
    assert found.notes == ()


@pytest.mark.parametrize("reported", [MATTHEWS, CORRELATIONS])
def test_constant_predictions_score_zero_with_a_note(reported):
    found = score(reported, [1, 1, 1], [0, 1, 1])
    assert set(found.values.values()) == {0.0}
    names = "matthews is" if reported is MATTHEWS else "pearson, spearman are"
    assert found.notes == (f"All predictions are equal: {names} not defined, counted as 0.",)


UNDEFINED = {
    "one class": (MATTHEWS, [0, 0], "All references are equal: matthews is"),
    "one number": (CORRELATIONS, [5.0, 5.0], "All references are equal: pearson, spearman are"),
    "one example": (CORRELATIONS, [5.0], "All references are equal: pearson, spearman are"),
    "no positive": (ACCURACY_AND_F1, [0, 0], "No reference is positive: f1 is"),
    "no label": (MULTI_LABEL, [(0.0, 0.0), (0.0, 0.0)], "No reference has a label: micro_f1, macro_f1 are"),
    "no entity": (
        ENTITIES,
        [(0, 0), (0,)],
        "No reference has an entity: entity_precision, entity_recall, entity_f1 are",
    ),
}


@pytest.mark.parametrize(("reported", "references", "note"), UNDEFINED.values(), ids=UNDEFINED)
def test_metrics_that_the_references_do_not_define_are_nan(reported, references, note):
    """Otherwise all checkpoints would be equally good, and the first would be kept as best and end the run early."""
    right = [tuple(map(int, each)) if isinstance(each, tuple) else each for each in references]
    other = {ENTITIES: [(1, 0), (0,)], MULTI_LABEL: [(1, 0), (0, 1)]}.get(reported, [1, 0][: len(references)])
    for predictions in (right, other):
        found = score(reported, predictions, references, LABELS)
        assert math.isnan(found.values[reported.headline])
        assert found.notes == (f"{note} not defined, and ignored.",)
        verdict = judge(reported, found, found, len(references))
        assert not verdict.guessing
        assert verdict.message.startswith(f"not compared with guessing: {reported.headline} is not defined")


def test_nearly_constant_predictions_have_finite_scores():
    predictions = [3.0, 3.0, np.nextafter(3.0, 4.0)]
    assert all(math.isfinite(value) for value in score(CORRELATIONS, predictions, [1.0, 2.0, 5.0]).values.values())


def test_metrics_of_several_labels_equal_their_formulas():
    predictions, references = RANDOM.integers(0, 2, (2, 30, 4))
    predictions[:, 3] = references[:, 3] = 0  # a label that never occurs
    columns = [counts(predictions[:, n], references[:, n]) for n in range(4)]
    found = score(MULTI_LABEL, predictions.tolist(), [tuple(map(float, row)) for row in references]).values
    assert found["macro_f1"] == pytest.approx(np.mean([f1_of(*column[:3]) for column in columns]))
    assert found["micro_f1"] == pytest.approx(f1_of(*np.sum(columns, axis=0)[:3]))


LABELS = ("O", "B-A", "I-A", "B-B", "I-B")


def entities(tags):
    """Returns the entities of a sentence by conlleval's rule: after `to_bio`, B- starts one and I- continues it."""
    found, begun = set(), None
    for place, tag in enumerate([*to_bio(tags, "here"), "O"]):
        if begun is not None and tag[0] != "I":
            found.add((*begun, place))
            begun = None
        if tag[0] == "B":
            begun = (tag[2:], place)
    return found


def test_entity_metrics_equal_counts_of_entities():
    sentences = list(itertools.product(range(5), repeat=3))
    # The last third predicts nothing, so that precision and recall differ.
    shuffled = [sentences[n] if n < 80 else (0, 0, 0) for n in RANDOM.permutation(len(sentences))]
    correct = predicted = expected = 0
    for prediction, reference in zip(shuffled, sentences, strict=True):
        found, right = (entities([LABELS[tag] for tag in tags]) for tags in (prediction, reference))
        correct, predicted, expected = correct + len(found & right), predicted + len(found), expected + len(right)
    values = score(ENTITIES, shuffled, sentences, LABELS).values
    assert values["entity_precision"] == pytest.approx(correct / predicted)
    assert values["entity_recall"] == pytest.approx(correct / expected)
    assert values["entity_f1"] == pytest.approx(f1_of(correct, predicted - correct, expected - correct))
    assert values["entity_precision"] > 1.2 * values["entity_recall"] > 0


def test_no_predicted_entity_scores_zero():
    assert set(score(ENTITIES, [(0, 0)], [(0, 1)], LABELS).values.values()) == {0.0}


def test_no_predicted_positive_scores_zero():
    assert score(ACCURACY_AND_F1, [0, 0], [1, 1]).values["f1"] == 0.0


@pytest.mark.parametrize(
    ("reported", "predictions", "references"),
    [
        (ACCURACY, [2, 0, 1], [2, 0, 1]),
        (ACCURACY_AND_F1, [1, 0, 1], [1, 0, 1]),
        (MATTHEWS, [1, 0, 1], [1, 0, 1]),
        (CORRELATIONS, [1.0, 2.0, 4.0], [1.0, 2.0, 4.0]),
        (ENTITIES, [(1, 2, 0), (3,)], [(1, 2, 0), (3,)]),
        (MULTI_LABEL, [(1, 0), (0, 1)], [(1.0, 0.0), (0.0, 1.0)]),
    ],
)
def test_perfect_predictions_score_one(reported, predictions, references):
    assert score(reported, predictions, references, LABELS).values[reported.headline] == pytest.approx(1.0)


def test_metrics_of_each_task():
    found = {task: metrics_of("classification", row.problem, task) for task, row in GLUE.items()}
    assert {task for task, reported in found.items() if reported == ACCURACY} == {"sst2", "mnli", "qnli", "rte", "wnli"}
    assert (found["cola"], found["ax"]) == (MATTHEWS, ACCURACY_AND_MATTHEWS)
    assert found["mrpc"] == found["qqp"] == ACCURACY_AND_F1
    assert found["stsb"] == CORRELATIONS == metrics_of("classification", "regression")
    assert metrics_of("tags", task="wnut17") == ENTITIES
    assert metrics_of("choices", task="race") == ACCURACY
    assert metrics_of("classification", "multi_label") == MULTI_LABEL
    with pytest.raises(ValueError, match="scored by train"):
        metrics_of("spans")


def test_invalid_arguments_raise():
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        score(ACCURACY, [1], [1, 1])
    with pytest.raises(ValueError, match="0 predictions"):
        score(ACCURACY, [], [])
    with pytest.raises(ValueError, match="without a label"):
        score(ACCURACY, [1], [None])
    with pytest.raises(ValueError, match="not finite"):
        score(CORRELATIONS, [1.0, np.float64("nan")], [1.0, 2.0])
    with pytest.raises(ValueError, match="unknown metric 'bleu'"):
        score(TaskMetrics(("bleu",), "bleu"), [1], [1])
