"""Padding rows of an embedding table do not change any objective over words."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import keystr, tree_map_with_path

from flax_lite.distillation.objective import distillation_objective, fit_recipe
from flax_lite.distillation.recipe import DistillationRecipe
from flax_lite.distillation.vocabulary import VOCABULARY_AXES
from flax_lite.models.params import get_params, with_params
from flax_lite.training.losses import piece_logits
from flax_lite.training.objective import masked_lm_objective, pretraining_objective
from tests.flax_lite import distillation_cases as cases
from tests.flax_lite import tiny

PIECES = cases.STUDENT.vocab_size
ONE_LAYER = {"num_hidden_layers": 1, **cases.WITHOUT_DROPOUT}
# Rows of the student and the teacher, as 30,528 rows for 30,522 pieces: padding in one table, and in both.
ROWS = {"teacher": (PIECES, PIECES + 3), "both": (PIECES + 7, PIECES + 3)}


def padded(model: Any, rows: int) -> Any:
    """The model with padding rows up to `rows`, which would win every prediction: their logits are 30."""

    def pad(path: Any, leaf: jax.Array) -> jax.Array:
        name = keystr(path, simple=True, separator="/")
        if name not in VOCABULARY_AXES:
            return leaf
        widths = [(0, 0)] * leaf.ndim
        widths[VOCABULARY_AXES[name]] = (0, rows - PIECES)
        return jnp.pad(leaf, widths, constant_values=30.0 if name.endswith("bias") else 0.0)

    config = model.config.replace(vocab_size=rows)
    made = nnx.eval_shape(lambda: type(model)(config, rngs=nnx.Rngs(0)))
    return with_params(nnx.graphdef(made), tree_map_with_path(pad, get_params(model)))


def gradient_and_sums(objective: Any, model: Any, *constants: Any) -> tuple[Any, Any]:
    """The gradient of the total of all sums, without padding rows, and the sums."""
    batch = {**cases.make_batch(), "sentence_label": jnp.zeros(cases.ROWS, jnp.int32)}

    @jax.jit
    def program(params: Any) -> Any:
        def total(params: Any) -> tuple[Any, Any]:
            sums = objective.sums(with_params(nnx.graphdef(model), params), batch, None, *constants)
            return sum(sums.values()), sums

        return jax.grad(total, has_aux=True)(params)

    gradient, sums = jax.device_get(program(get_params(model)))
    sums = {name: float(value) for name, value in sums.items()}

    def cut(path: Any, leaf: np.ndarray) -> np.ndarray:
        axis = VOCABULARY_AXES.get(keystr(path, simple=True, separator="/"))
        if axis is None:
            return leaf
        pieces, padding = np.split(leaf, [PIECES], axis=axis)
        assert not padding.any()
        return pieces

    return tree_map_with_path(cut, gradient), sums


OBJECTIVES = {
    "masked_lm": ("MaskedLM", masked_lm_objective),
    "pretraining": ("PreTraining", lambda pieces: pretraining_objective("sop", pieces)),
}


@pytest.mark.parametrize(("name", "family"), [("masked_lm", "distilbert"), ("pretraining", "albert")])
def test_objectives_over_words_ignore_padding_rows(name, family):
    kind, objective = OBJECTIVES[name]
    model = tiny.make(kind, tiny.FAMILIES[family](**ONE_LAYER))
    expected, sums = gradient_and_sums(objective(None), model)
    got, others = gradient_and_sums(objective(PIECES), padded(model, PIECES + 7))
    assert others == pytest.approx(sums, rel=1e-6)
    cases.assert_same_gradient(got, expected)


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_distillation_ignores_padding_rows_of_both_tables(rows):
    models = tiny.make("MaskedLM", tiny.distilbert(**ONE_LAYER), 1), tiny.make("MaskedLM", tiny.bert(**ONE_LAYER))
    losses = dict.fromkeys(("soft_cross_entropy", "logit_mse", "mlm"), 1.0)

    def measured(student: Any, teacher: Any, pieces: int | None) -> tuple[Any, Any]:
        recipe = fit_recipe(DistillationRecipe(losses=losses, num_pieces=pieces), student.config, teacher.config)
        return gradient_and_sums(distillation_objective(recipe, nnx.graphdef(teacher)), student, get_params(teacher))

    expected, sums = measured(*models, None)
    got, others = measured(*map(padded, models, rows), PIECES)
    assert others == pytest.approx(sums, rel=1e-5)
    cases.assert_same_gradient(got, expected)


@pytest.mark.parametrize(
    ("rows", "losses", "message"),
    [
        ((PIECES - 1, PIECES), ("mlm",), "mlm reads the logits of num_pieces=41, but the student has vocab_size=40"),
        ((PIECES, PIECES - 1), ("logit_mse",), "logit_mse reads .* but the teacher has vocab_size=40"),
        ((PIECES, PIECES - 1), ("mlm", "cosine"), None),
        ((PIECES + 1, PIECES + 9), ("soft_cross_entropy",), None),
    ],
)
def test_table_with_too_few_rows_is_refused_if_its_logits_are_read(rows, losses, message):
    configs = tiny.distilbert(vocab_size=rows[0]), tiny.bert(vocab_size=rows[1])
    wanted = DistillationRecipe(losses=dict.fromkeys(losses, 1.0), num_pieces=PIECES)
    if message is None:
        assert fit_recipe(wanted, *configs).num_pieces == PIECES
        return
    with pytest.raises(ValueError, match=message):
        fit_recipe(wanted, *configs)


@pytest.mark.parametrize(("num_pieces", "width"), [(None, 5), (5, 5), (3, 3)])
def test_of_pieces_drops_padding_logits(num_pieces, width):
    logits = jnp.arange(10.0).reshape(2, 5)
    np.testing.assert_array_equal(piece_logits(logits, num_pieces), logits[:, :width])
