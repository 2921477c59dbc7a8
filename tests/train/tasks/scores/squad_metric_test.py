"""Exact match and F1 against published systems, single rules, and Hugging Face's copy of the official script."""

import json
import types

import numpy as np
import pytest

from train.errors import UserError
from train.tasks.examples import Answer, SpanExample
from train.tasks.readers.squad import read_squad
from train.tasks.scores.squad_metric import exact_match, f1, normalize, squad_scores


def question(number, *answers):
    return SpanExample(
        id=f"q{number}", question="Who?", context="context", answers=tuple(Answer(text, 0) for text in answers)
    )


@pytest.mark.parametrize(
    ("version", "file", "articles", "predictions", "expected"),
    [
        ("v1", "dev-v1.1.rebuilt.json", 48, "v1.1-bert-ensemble.json", {"exact_match": 86.206, "f1": 92.196}),
        (
            "v2",
            "dev-v2.0.rebuilt.json",
            35,
            "v2.0-bert-single.json",
            {
                "exact_match": 78.7417,
                "f1": 81.7753,
                "has_answer_exact_match": 74.1059,
                "has_answer_f1": 80.1818,
                "no_answer": 83.3642,
            },
        ),
    ],
)
def test_published_predictions_score_as_published(shared_data, version, file, articles, predictions, expected):
    examples = read_squad(str(shared_data / "qa" / file), version, eval_articles=articles).evaluation["dev"]
    given = json.loads((shared_data / "qa" / "preds" / predictions).read_text())
    scores = squad_scores(examples, given, version)
    assert set(scores) == set(expected)
    decimals = 3 if version == "v1" else 4
    assert {name: round(score, decimals) for name, score in scores.items()} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat,\tsat.", "cat sat"),
        ("a-b", "ab"),  # punctuation is removed before articles
        ("an theatre a", "theatre"),
        ("“the” £5", "“ ” £5"),  # other punctuation than ASCII stays
        ("the", ""),
    ],
)
def test_normalization(text, expected):
    assert normalize(text) == expected


def test_overlap_counts_repeated_words():
    assert exact_match("The cat!", "cat") == 1.0
    # Two words of two in common with two of four: precision 1, recall 1/2.
    assert f1("cat cat", "cat cat cat dog", "v1") == pytest.approx(2 / 3)
    assert f1("dog", "cat", "v1") == 0.0


def test_versions_differ_if_no_word_remains():
    assert f1("the", "a", "v1") == 0.0
    assert f1("the", "a", "v2") == f1("", "", "v2") == 1.0
    assert f1("", "cat", "v2") == 0.0


def test_the_best_answer_counts_and_a_missing_prediction_scores_zero():
    examples = [question(0, "dog", "black cat"), question(1, "cat")]
    assert squad_scores(examples, {"q0": "the black cat"}, "v1") == {"f1": 50.0, "exact_match": 50.0}


def test_missing_questions_or_odds_raise():
    with pytest.raises(UserError, match="no questions"):
        squad_scores([], {}, "v1")
    with pytest.raises(UserError, match="null odds are missing for 1 of 2 questions, such as q1"):
        squad_scores([question(0, "a cat"), question(1)], {"q0": "", "q1": ""}, "v2", {"q0": 0.0})


@pytest.mark.parametrize("seed", range(20))
def test_version_2_equals_the_official_script(seed):
    squad_metrics = pytest.importorskip("transformers.data.metrics.squad_metrics")
    draw = np.random.default_rng(seed)
    texts = ["", "the", "cat", "a black cat", "black dog", "Dog.", "cat dog cat"]
    examples, predictions = [], {}
    for number in range(int(draw.integers(1, 30))):
        answers = draw.choice(texts[1:], size=int(draw.integers(0, 4))).tolist()
        examples.append(question(number, *answers))
        predictions[f"q{number}"] = str(draw.choice(texts))
    threshold = float(draw.random())
    odds = {name: float(value) for name, value in zip(predictions, draw.random(len(predictions)).round(1), strict=True)}
    questions = [
        types.SimpleNamespace(qas_id=each.id, answers=[{"text": answer.text} for answer in each.answers])
        for each in examples
    ]
    expected = squad_metrics.squad_evaluate(
        questions, predictions, dict(odds), no_answer_probability_threshold=threshold
    )
    names = {
        "exact_match": "exact",
        "f1": "f1",
        "has_answer_exact_match": "HasAns_exact",
        "has_answer_f1": "HasAns_f1",
        "no_answer": "NoAns_exact",
        "best_exact_match": "best_exact",
        "best_f1": "best_f1",
        "best_exact_match_threshold": "best_exact_thresh",
        "best_f1_threshold": "best_f1_thresh",
    }
    scores = squad_scores(examples, predictions, "v2", odds, threshold)
    assert set(scores) == {name for name, official in names.items() if official in expected}
    # If abstaining is best and a probability is exactly 0, the official threshold would still predict an answer.
    assert scores == {name: pytest.approx(expected[names[name]], abs=1e-9) for name in scores}
