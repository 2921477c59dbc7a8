"""Which layers of a task's teacher and of its student are compared."""

import pytest

from tests.flax_lite import tiny
from train.errors import UserError
from train.jobs.task_teacher import _layer_map

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
def test_pairs_of_layers_that_are_not_there_are_refused(pairs):
    with pytest.raises(UserError, match=r"expected pairs \(teacher's layer of 4, student's of 2\)"):
        layer_map(pairs)


def test_hidden_states_of_two_widths_are_not_compared():
    with pytest.raises(UserError, match="12 wide in the teacher, 24 in the student"):
        layer_map(None, tiny.bert(num_hidden_layers=2, hidden_size=24))


def test_no_layers_are_compared_where_the_loss_is_not_asked_for():
    assert _layer_map({}, {"soft_cross_entropy": 1.0}, TEACHER, STUDENT) == ()
