"""Each loss of a distillation against its formula over all tokens: value, divisor, gradient, and what it ignores."""

import functools

import jax
import numpy as np
import pytest

from flax_lite.distillation.losses import LOSSES
from flax_lite.models.params import get_params
from tests.flax_lite import lessons
from tests.flax_lite.lessons import METRICS, assert_same_gradient

every_loss = pytest.mark.parametrize("name", LOSSES)
RECIPE = lessons.recipe_of(lessons.MIXTURE)
# On rows that are one text each, so without segment_ids and position_ids: the losses that this concerns.
RESTRICTED = lessons.recipe_of(
    dict.fromkeys(("soft_cross_entropy", "value_relation", "sentence_mse"), 1.0), restrict_to_mask=True
)
ALL = dict.fromkeys(METRICS.values(), 1.0)


def largest(tree):
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(jax.device_get(tree)))


@pytest.fixture(scope="module")
def measure():
    """What the objective makes of a batch, and of a factor for each sum's gradient; one program for all tests."""
    student, teacher = lessons.models()
    program = lessons.measuring(student, teacher, RECIPE)

    def measure(batch=None, **factors):
        batch = lessons.make_batch() if batch is None else batch
        return program(get_params(student), get_params(teacher), batch, lessons.factors_of(RECIPE, **factors))

    return measure


@pytest.fixture(scope="module")
def formula():
    """The same by the formulas: sums and the gradient by the student's parameters."""
    program, params = lessons.mixture_formulas(), get_params(lessons.models()[0])
    return lambda **factors: program(params, lessons.factors_of(RECIPE, **factors))


@pytest.fixture(scope="module")
def measure_restricted():
    """The same with losses on logits at the masked positions alone, of rows that are one text each."""
    student, teacher = lessons.models()
    program, factors = lessons.measuring(student, teacher, RESTRICTED), lessons.factors_of(RESTRICTED, **ALL)
    return lambda batch: program(get_params(student), get_params(teacher), batch, factors)


@every_loss
def test_losses_equal_their_formulas(name, measure, formula):
    """Of packed and padded rows, the logits in chunks of which the last is short. A sum of float32 terms that are
    rounded in another order: 1e-5, the bar of the train step's metrics.
    """
    got, (expected, _) = measure().sums, formula()
    for metric in LOSSES[name].metrics:
        np.testing.assert_allclose(got[metric], expected[metric], rtol=1e-5, err_msg=metric)
        assert float(got[metric]) > 0


@every_loss
def test_losses_have_the_gradient_of_their_formulas(name, measure, formula):
    """By the student's parameters, those of the masked-LM head included; no chunks there."""
    factor = {METRICS[name]: 1.0}
    expected = formula(**factor)[1]
    assert largest(expected) > 0
    assert_same_gradient(measure(**factor).student, expected)


def test_losses_are_divided_by_what_they_are_summed_over(measure):
    """Tokens, masked slots in use, and texts, of the rows that count."""
    expected = lessons.divisors(lessons.make_batch(), RECIPE)
    assert {name: float(weight) for name, weight in measure().weights.items()} == expected
    assert len(set(expected.values())) == 3


def test_losses_of_masked_positions_equal_their_formulas(measure_restricted):
    """P positions are no multiple of the chunks either. A row without segment_ids is one text."""
    (student, teacher), batch = lessons.models(), lessons.make_batch(packed=False)
    measured = measure_restricted(batch)
    formula = lessons.formula_measuring(student, teacher, RESTRICTED, batch)
    sums, gradient = formula(get_params(student), lessons.factors_of(RESTRICTED, **ALL))
    for name, expected in sums.items():
        np.testing.assert_allclose(measured.sums[name], expected, rtol=1e-5, err_msg=name)
    assert_same_gradient(measured.student, gradient)
    expected = lessons.divisors(batch, RESTRICTED)
    assert {name: float(weight) for name, weight in measured.weights.items()} == {name: expected[name] for name in sums}


def test_losses_reach_no_parameter_of_the_teacher(measure):
    """Its forward pass is inside the step, and yet its parameters are constants: the gradient by them is 0."""
    measured = measure(**ALL)
    assert largest(measured.student) > 0
    assert jax.tree.structure(measured.teacher) == jax.tree.structure(get_params(lessons.models()[1]))
    assert largest(measured.teacher) == 0


def same(got, expected):
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize("packed", [True, False])
def test_losses_ignore_padding_whatever_it_holds(packed, measure, measure_restricted):
    """A padding token is no key of a real one, and adds nothing itself: sums and gradients do not change by a bit.

    In packed rows texts are apart from padding by their numbers too; in others by the mask alone.
    """
    batch = jax.device_get(lessons.make_batch(packed))
    measured = functools.partial(measure, **ALL) if packed else measure_restricted
    padding, unused = batch["attention_mask"] == 0, batch["masked_weights"] == 0
    assert padding.any()
    assert unused.any()
    tokens = {name: np.where(padding, value, batch[name]) for name, value in (("input_ids", 7), ("token_type_ids", 1))}
    slots = {name: np.where(unused, 9, batch[name]) for name in ("masked_ids", "masked_positions")}
    same(measured({**batch, **tokens, **slots}), measured(batch))


def test_losses_ignore_rows_without_weight(measure):
    """The last row only fills the batch up: whatever it holds, nothing changes. With weight, it would."""
    batch = jax.device_get(lessons.make_batch())
    other = {name: np.concatenate([array[:-1], array[:1]]) for name, array in batch.items() if name != "row_weights"}
    expected = measure(**ALL)
    same(measure({**batch, **other}, **ALL), expected)
    counted = measure({**batch, **other, "row_weights": np.ones(lessons.ROWS, np.float32)}, **ALL)
    for name in ALL:
        assert counted.sums[name] > expected.sums[name]
        assert counted.weights[name] > expected.weights[name]


def test_losses_of_a_batch_without_any_weight_are_0(measure):
    batch = lessons.make_batch() | {"row_weights": np.zeros(lessons.ROWS, np.float32)}
    assert largest(measure(batch, **ALL)) == 0
