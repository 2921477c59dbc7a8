"""Files of answers in the format of SQuAD's scripts."""

import json

import pytest

from train.tasks.examples import Answer, Prediction, SpanExample, TaskData
from train.tasks.scores.scoring import Scorer

ANSWERED = SpanExample(id="a", question="Who?", context="a cät", answers=(Answer("cät", 2),))
UNANSWERED = SpanExample(id="n", question="What?", context="a cat")
PREDICTIONS = [
    Prediction(id="a", value="cät", probabilities=(-2.5,)),
    Prediction(id="n", value="", probabilities=(0.25,)),
]
SCORER = Scorer("squad_v2", TaskData(kind="spans", train=[], evaluation={"dev": [ANSWERED, UNANSWERED]}))


def test_answers_and_odds_are_objects_by_question(tmp_path):
    path = SCORER.write("dev", [ANSWERED, UNANSWERED], PREDICTIONS, tmp_path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "cät", "n": ""}
    assert json.loads((tmp_path / "dev_null_odds.json").read_text()) == {"a": -2.5, "n": 0.25}
    assert [each.value for each in SCORER.read(path, [ANSWERED, UNANSWERED])] == ["cät", ""]


@pytest.mark.parametrize(
    ("examples", "predictions"),
    [
        ([ANSWERED], PREDICTIONS[:1]),  # version 1.1
        ([ANSWERED, UNANSWERED], [Prediction(id=each.id, value=each.value) for each in PREDICTIONS]),
    ],
)
def test_null_odds_are_written_only_if_known_and_for_version_2(examples, predictions, tmp_path):
    SCORER.write("dev", examples, predictions, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["dev.json"]
