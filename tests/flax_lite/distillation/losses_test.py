"""Each distillation loss against its formula over all tokens: value, divisor, gradient, and ignored inputs."""

import functools

import jax
import numpy as np
import pytest

from flax_lite.distillation.losses import LOSSES
from flax_lite.models.params import get_params
from tests.flax_lite import distillation_cases as cases
from tests.flax_lite.distillation_cases import METRICS, assert_same_gradient

every_loss = pytest.mark.parametrize("name", LOSSES)
RECIPE = cases.recipe_of(cases.MIXTURE)
# Losses that depend on packing, on rows of one text each, without segment_ids and position_ids.
RESTRICTED = cases.recipe_of(
    dict.fromkeys(("soft_cross_entropy", "value_relation", "sentence_mse"), 1.0), restrict_to_mask=True
)
ALL = dict.fromkeys(METRICS.values(), 1.0)


def largest(tree):
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(jax.device_get(tree)))


@pytest.fixture(scope="module")
def measure():
    """The objective's sums and gradients for a batch and a cotangent of each sum; one program for all tests."""
    student, teacher = cases.models()
    program = cases.measuring(student, teacher, RECIPE)

    def measure(batch=None, **factors):
        batch = cases.make_batch() if batch is None else batch
        return program(get_params(student), get_params(teacher), batch, cases.factors_of(RECIPE, **factors))

    return measure


@pytest.fixture(scope="module")
def formula():
    """The same by the formulas: sums, and the gradient with respect to the student's parameters."""
    program, params = cases.mixture_formulas(), get_params(cases.models()[0])
    return lambda **factors: program(params, cases.factors_of(RECIPE, **factors))


@pytest.fixture(scope="module")
def measure_restricted():
    """The same with losses on logits at masked positions only, for rows of one text each."""
    student, teacher = cases.models()
    program, factors = cases.measuring(student, teacher, RESTRICTED), cases.factors_of(RESTRICTED, **ALL)
    return lambda batch: program(get_params(student), get_params(teacher), batch, factors)


@every_loss
def test_losses_equal_their_formulas(name, measure, formula):
    """For packed and padded rows, with logits in chunks of which the last is short. Float32 sums in another order:
    1e-5, the tolerance of the train step's metrics.
    """
    got, (expected, _) = measure().sums, formula()
    for metric in LOSSES[name].metrics:
        np.testing.assert_allclose(got[metric], expected[metric], rtol=1e-5, err_msg=metric)
        assert float(got[metric]) > 0


@every_loss
def test_losses_have_the_gradient_of_their_formulas(name, measure, formula):
    """With respect to the student's parameters, including those of the masked-LM head; the formulas have no chunks."""
    factor = {METRICS[name]: 1.0}
    expected = formula(**factor)[1]
    assert largest(expected) > 0
    assert_same_gradient(measure(**factor).student, expected)


def test_losses_are_divided_by_the_number_of_their_units(measure):
    """Tokens, used masked slots, and texts of rows with weight."""
    expected = cases.divisors(cases.make_batch(), RECIPE)
    assert {name: float(weight) for name, weight in measure().weights.items()} == expected
    assert len(set(expected.values())) == 3


def test_losses_of_masked_positions_equal_their_formulas(measure_restricted):
    """P is no multiple of the number of chunks either. A row without segment_ids is one text."""
    (student, teacher), batch = cases.models(), cases.make_batch(packed=False)
    measured = measure_restricted(batch)
    formula = cases.formula_measuring(student, teacher, RESTRICTED, batch)
    sums, gradient = formula(get_params(student), cases.factors_of(RESTRICTED, **ALL))
    for name, expected in sums.items():
        np.testing.assert_allclose(measured.sums[name], expected, rtol=1e-5, err_msg=name)
    assert_same_gradient(measured.student, gradient)
    expected = cases.divisors(batch, RESTRICTED)
    assert {name: float(weight) for name, weight in measured.weights.items()} == {name: expected[name] for name in sums}


def test_losses_reach_no_parameter_of_the_teacher(measure):
    """The teacher's forward pass is inside the step, but its parameters are constants: their gradient is 0."""
    measured = measure(**ALL)
    assert largest(measured.student) > 0
    assert jax.tree.structure(measured.teacher) == jax.tree.structure(get_params(cases.models()[1]))
    assert largest(measured.teacher) == 0


def same(got, expected):
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize("packed", [True, False])
def test_losses_ignore_padding_of_any_value(packed, measure, measure_restricted):
    """Real tokens do not attend to padding, and padding adds nothing itself: sums and gradients stay bit-equal.

    In packed rows, padding is excluded by segment ids too; in other rows by the mask only.
    """
    batch = jax.device_get(cases.make_batch(packed))
    measured = functools.partial(measure, **ALL) if packed else measure_restricted
    padding, unused = batch["attention_mask"] == 0, batch["masked_weights"] == 0
    assert padding.any()
    assert unused.any()
    tokens = {name: np.where(padding, value, batch[name]) for name, value in (("input_ids", 7), ("token_type_ids", 1))}
    slots = {name: np.where(unused, 9, batch[name]) for name in ("masked_ids", "masked_positions")}
    same(measured({**batch, **tokens, **slots}), measured(batch))


def test_losses_ignore_rows_without_weight(measure):
    """The values of the last row, which only fills the batch, change nothing; with weight they would."""
    batch = jax.device_get(cases.make_batch())
    other = {name: np.concatenate([array[:-1], array[:1]]) for name, array in batch.items() if name != "row_weights"}
    expected = measure(**ALL)
    same(measure({**batch, **other}, **ALL), expected)
    counted = measure({**batch, **other, "row_weights": np.ones(cases.ROWS, np.float32)}, **ALL)
    for name in ALL:
        assert counted.sums[name] > expected.sums[name]
        assert counted.weights[name] > expected.weights[name]


def test_losses_of_a_batch_without_any_weight_are_0(measure):
    batch = cases.make_batch() | {"row_weights": np.zeros(cases.ROWS, np.float32)}
    assert largest(measure(batch, **ALL)) == 0
