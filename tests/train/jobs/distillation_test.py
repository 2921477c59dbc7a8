"""The score of a distillation's teacher on the held-out words."""

import math
from types import SimpleNamespace

import pytest

from train.jobs.distillation import _describe_data

DATA = SimpleNamespace(
    describe=lambda: ["rows: 8"], describe_references=lambda: "unigram entropy 4.0", unigram_entropy=4.0
)


@pytest.mark.parametrize(
    ("source", "words", "loss", "expected"),
    [
        ("here", True, 1.5, ["teacher:"]),
        ("here", True, 4.0, ["teacher:", "WARNING: teacher=here predicts held-out words no better"]),
        ("here", True, 9.0, ["teacher:", "WARNING: teacher=here predicts held-out words no better"]),
        ("here", True, math.nan, ["teacher:", "WARNING: teacher=here predicts held-out words no better"]),
        ("here", False, 9.0, []),  # it has no head
        ("random", True, 9.0, []),  # a random model is not expected to predict anything
    ],
)
def test_a_teacher_is_scored_on_held_out_words(source, words, loss, expected):
    teacher = SimpleNamespace(source=source, predicts_words=words)
    lines = list(_describe_data(teacher, DATA, lambda: {"mlm_loss": loss, "mlm_accuracy": 0.5}))
    assert lines[0] == "rows: 8"
    assert len(lines) == 1 + len(expected)
    assert all(map(str.startswith, lines[1:], expected))
