"""The layer map of a task's teacher and student, and the teacher's score before training."""

import numpy as np
import pytest

from flax_lite.training.task_objectives import Teaching
from tests.flax_lite import tiny
from tests.train.jobs.prepared import prepared_of
from train.errors import UserError
from train.jobs import task_teacher
from train.jobs.task_teacher import TaskTeacher, _layer_map

TEACHER, STUDENT = tiny.bert(num_hidden_layers=4), tiny.bert(num_hidden_layers=2)


def layer_map(pairs, student=STUDENT):
    return _layer_map({"distill.layer_map": pairs}, {"hidden_mse": 1.0}, TEACHER, student)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [(None, ((1, 0), (3, 1))), (((0, 0), (2, 1)), ((0, 0), (2, 1))), (((-1, -1),), ((3, 1),))],
)
def test_layers_are_counted_from_either_end(pairs, expected):
    assert layer_map(pairs) == expected


@pytest.mark.parametrize("pairs", [((4, 0),), ((0, 2),), ((0,),), (1, 2)])
def test_pairs_of_missing_layers_are_refused(pairs):
    with pytest.raises(UserError, match=r"expected pairs \(teacher layer of 4, student layer of 2\)"):
        layer_map(pairs)


def test_hidden_states_of_two_widths_are_not_compared():
    with pytest.raises(UserError, match="the teacher has 12, the student 24"):
        layer_map(None, tiny.bert(num_hidden_layers=2, hidden_size=24))


def test_no_layers_are_compared_without_the_loss():
    assert _layer_map({}, {"soft_cross_entropy": 1.0}, TEACHER, STUDENT) == ()


RIGHT, ODD = [0, 1, 1, 0], np.nan
# Predicted classes of four held-out examples, names of the teacher's labels, its score, and the warning.
TRIALS = {
    "right": (RIGHT, ("bad", "good"), "accuracy 1.0000", None),
    "unnamed": (RIGHT, ("LABEL_0", "LABEL_1"), "accuracy 1.0000", None),
    "permuted": ([1, 0, 0, 1], ("LABEL_0", "LABEL_1"), "accuracy 0.0000", "if their order is not bad, good"),
    "three of four": ([1, 1, 1, 0], ("LABEL_0", "LABEL_1"), "accuracy 0.7500", "examples. Its labels are LABEL_0"),
    "guessing": ([0, 0, 0, 0], ("bad", "GOOD"), "accuracy 0.5000", "no better than guessing"),
}


@pytest.fixture
def teacher_of(monkeypatch):
    """`teacher_of(logits, labels)`: a prepared task, and a teacher with these logits for its rows."""

    def teacher_of(logits, labels):
        prepared = prepared_of("single_label", RIGHT, ("bad", "good"))

        def batches(step, params, rows, tokens):
            return [{"row": np.arange(len(rows)), "logits_0": logits[: len(rows)]}]

        monkeypatch.setattr(task_teacher, "run_rows", batches)
        monkeypatch.setattr(task_teacher, "make_task_eval_step", lambda *arguments: None)
        teaching = Teaching(structure=None, losses={"soft_cross_entropy": 1.0})
        return prepared, TaskTeacher("SOURCE", prepared.task, tiny.bert(labels=labels), None, {}, teaching, "")

    return teacher_of


@pytest.mark.parametrize(("classes", "labels", "score", "warning"), TRIALS.values(), ids=TRIALS)
def test_a_teacher_is_scored_on_the_set_that_decides(teacher_of, classes, labels, score, warning):
    """Not on the second set, where it is always wrong."""
    logits = np.eye(2, dtype=np.float32)[[*classes, *(1 - each for each in RIGHT)]]
    prepared, teacher = teacher_of(logits, labels)
    first, *more = teacher.describe_score(prepared, 64)
    assert first == f"teacher: {score} (guessing: accuracy 0.5000)"
    assert len(more) == (warning is not None)
    if warning:
        assert more[0].startswith("WARNING: teacher=SOURCE is no better than guessing on the held-out examples")
        assert warning in more[0]
        assert ("Its labels are" in more[0]) == (labels[0] == "LABEL_0")


@pytest.mark.parametrize(("rows", "method"), [("held-out", "describe_score"), ("training", "add_logits")])
def test_a_teacher_with_nonfinite_outputs_is_refused(teacher_of, rows, method):
    logits = np.zeros((8, 2), np.float32)
    logits[2] = ODD
    prepared, teacher = teacher_of(logits, ("bad", "good"))
    given = {"describe_score": (prepared, 64), "add_logits": (prepared.train, 64, print)}[method]
    with pytest.raises(UserError, match=f"teacher=SOURCE returns NaN or infinity for 1 of . {rows} rows"):
        getattr(teacher, method)(*given)
