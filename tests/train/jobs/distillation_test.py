"""A distillation's teacher is tried before it teaches, where it can be."""

import math
from types import SimpleNamespace

import pytest

from train.jobs.distillation import _described

DATA = SimpleNamespace(
    describe=lambda: ["rows: 8"], describe_references=lambda: "unigram entropy 4.0", unigram_entropy=4.0
)


@pytest.mark.parametrize(
    ("source", "words", "loss", "said"),
    [
        ("here", True, 1.5, ["teacher's own"]),
        ("here", True, 4.0, ["teacher's own", "WARNING: teacher=here guesses"]),
        ("here", True, 9.0, ["teacher's own", "WARNING: teacher=here guesses"]),
        ("here", True, math.nan, ["teacher's own", "WARNING: teacher=here guesses"]),
        ("here", False, 9.0, []),  # it has no head to try
        ("random", True, 9.0, []),  # nobody believes that it knows anything
    ],
)
def test_a_teacher_is_tried_on_held_out_words(source, words, loss, said):
    teacher = SimpleNamespace(source=source, predicts_words=words)
    lines = list(_described(teacher, DATA, lambda: {"mlm_loss": loss, "mlm_accuracy": 0.5}))
    assert lines[0] == "rows: 8"
    assert [line.startswith(begin) for line, begin in zip(lines[1:], said, strict=True)] == [True] * len(said)
