"""Recipes: layer maps, their resolution for two models, and refused values."""

import itertools

import pytest

from flax_lite.distillation.losses import LOSSES
from flax_lite.distillation.objective import fit_recipe
from flax_lite.distillation.recipe import DistillationRecipe, uniform_layer_map
from tests.flax_lite import tiny

STUDENT, TEACHER = tiny.distilbert(num_hidden_layers=2), tiny.bert(num_hidden_layers=6)


def fit(losses, student=STUDENT, teacher=TEACHER, *, project=False, **options):
    losses = losses if isinstance(losses, dict) else {losses: 1.0}
    return fit_recipe(DistillationRecipe(losses=losses, **options), student, teacher, project=project)


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        (12, 4, (2, 5, 8, 11)),
        (12, 6, (1, 3, 5, 7, 9, 11)),
        (6, 3, (1, 3, 5)),
        (5, 2, (2, 4)),
        (7, 1, (6,)),
        (2, 4, (0, 0, 1, 1)),
        (5, 5, (0, 1, 2, 3, 4)),
    ],
)
def test_uniform_layer_map_pairs_layers_of_equal_relative_depth(teacher, student, expected):
    """12 to 4 is TinyBERT's map; otherwise the teacher's layer is the first that is at least as deep."""
    assert uniform_layer_map(teacher, student) == tuple(zip(expected, range(student), strict=True))


def test_uniform_layer_map_ends_with_the_last_layers():
    """For any depths; teacher layers never decrease, and every student layer occurs once."""
    for teacher, student in itertools.product(range(1, 14), repeat=2):
        teacher_layers, student_layers = zip(*uniform_layer_map(teacher, student), strict=True)
        assert student_layers == tuple(range(student))
        assert teacher_layers[-1] == teacher - 1
        assert list(teacher_layers) == sorted(teacher_layers)
        assert teacher_layers[0] >= 0


def test_fit_recipe_counts_layers_from_0():
    """Negative layers count from the end of either model; the default is the uniform layer map."""
    fitted = fit("hidden_mse", layer_map=((-1, -1), (-6, 0), (2, -2)), relation_layers=(-2, -1))
    assert fitted.layer_map == ((5, 1), (0, 0), (2, 0))
    assert fitted.relation_layers == (4, 1)
    assert fit("hidden_mse").layer_map == ((2, 0), (5, 1))
    assert fit("hidden_mse").relation_layers == (5, 1)


def test_fit_recipe_keeps_other_fields_and_is_idempotent():
    fitted = fit({"mlm": 0.5, "cosine": 0.0}, temperature=4.0, restrict_to_mask=True, relation_heads=3, num_chunks=5)
    assert fitted.losses == {"mlm": 0.5, "cosine": 0.0}
    assert (fitted.temperature, fitted.restrict_to_mask, fitted.relation_heads, fitted.num_chunks) == (4.0, True, 3, 5)
    assert fit_recipe(fitted, STUDENT, TEACHER) == fitted


@pytest.mark.parametrize("name", LOSSES)
def test_fit_recipe_takes_every_loss_of_equal_sizes(name):
    assert list(fit(name).losses) == [name]


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (
            {"kl": 1.0, "mlm": 1.0, "mse": 1.0},
            r"there is no loss kl, mse; choose from soft_cross_entropy, logit_mse, mlm, ",
        ),
        ({}, "a loss with a weight above 0 and no negative weights"),
        ({"mlm": 0.0}, "a loss with a weight above 0 and no negative weights"),
        ({"mlm": 1.0, "cosine": -1.0}, "a loss with a weight above 0 and no negative weights"),
    ],
)
def test_fit_recipe_refuses_impossible_losses(losses, message):
    with pytest.raises(ValueError, match=message):
        fit(losses)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_map": ((6, 0),)}, r"layer_map names the layers \(6, 0\) of teacher and student, which have 6 and 2 "),
        ({"layer_map": ((0, 0), (5, 2))}, r"layer_map names the layers \(5, 2\)"),
        ({"layer_map": ((-7, 0),)}, r"layer_map names the layers \(-7, 0\)"),
        ({"relation_layers": (0, -3)}, r"relation_layers names the layers \(0, -3\) .*6 and 2 .*from the end"),
        (
            {"layer_map": ((1, 1, 1),)},
            r"layer_map has \(1, 1, 1\); expected pairs \(teacher layer, student layer\)",
        ),
        ({"layer_map": (3,)}, r"layer_map has 3; expected pairs"),
        ({"layer_map": (("a", "b"),)}, r"layer_map has \('a', 'b'\); expected pairs"),
        ({"layer_map": ((0.5, 1),)}, r"layer_map has \(0.5, 1\); expected pairs"),
        ({"relation_layers": (None, 1)}, r"relation_layers has \(None, 1\); expected pairs"),
        ({"num_chunks": 1}, "num_chunks=1: expected 2 or more"),
        ({"num_chunks": 0}, "num_chunks=0: expected 2 or more"),
    ],
)
def test_fit_recipe_refuses_impossible_layers_and_chunks(options, message):
    with pytest.raises(ValueError, match=message):
        fit({"hidden_mse": 1.0, "value_relation": 1.0}, **options)


SAME = {
    "vocab_size": ("soft_cross_entropy", "logit_mse"),
    "hidden_size": ("cosine", "hidden_mse", "embedding_mse", "sentence_mse"),
    "num_attention_heads": ("attention_mse", "attention_relation"),
}
PROJECTED = ("hidden_mse", "embedding_mse", "sentence_mse")


@pytest.mark.parametrize(("field", "loss"), [(field, loss) for field, losses in SAME.items() for loss in losses])
def test_fit_recipe_refuses_sizes_that_a_loss_cannot_compare(field, loss):
    """The message names the loss, the field, both values, and the cure."""
    student = tiny.albert(**{field: {"vocab_size": 43, "hidden_size": 24, "num_attention_heads": 4}[field]})
    cure = "or project the student's .* to the teacher's width" if loss in PROJECTED else "make them equal"
    sizes = f"the teacher has {getattr(TEACHER, field)}, the student {getattr(student, field)}"
    message = f"^{loss} compares models of the same {field}, but {sizes}: .*{cure}$"
    with pytest.raises(ValueError, match=message):
        fit(loss, student)


@pytest.mark.parametrize("loss", PROJECTED)
def test_fit_recipe_takes_other_widths_with_projections(loss):
    assert fit(loss, tiny.albert(hidden_size=24), project=True).losses == {loss: 1.0}


def test_fit_recipe_refuses_other_widths_for_losses_without_projection():
    """The cosine loss has no projection."""
    with pytest.raises(ValueError, match="cosine compares models of the same hidden_size"):
        fit({"hidden_mse": 1.0, "cosine": 1.0}, tiny.albert(hidden_size=24), project=True)


@pytest.mark.parametrize("loss", ["mlm", "value_relation", "query_relation", "key_relation"])
def test_fit_recipe_takes_other_widths_for_losses_that_do_not_compare_them(loss):
    student = tiny.albert(hidden_size=24, num_attention_heads=4)
    assert fit(loss, student, relation_heads=6).relation_heads == 6


@pytest.mark.parametrize(("heads", "given"), [(8, 8), (0, 0), (-3, -3), (None, 3)])
def test_fit_recipe_refuses_relation_heads_that_do_not_divide(heads, given):
    """None stands for the teacher's number of heads, 3, which does not divide 20."""
    student = tiny.albert(hidden_size=20, num_attention_heads=4)
    message = f"relation_heads={given} must divide the widths of student and teacher, 20 and 12; .* divisor is 4"
    with pytest.raises(ValueError, match=message):
        fit("value_relation", student, relation_heads=heads)


def test_fit_recipe_checks_relation_heads_only_if_they_are_used():
    """The attention relation is compared head by head, and other losses have no relation heads."""
    assert fit({"attention_relation": 1.0, "mlm": 1.0}, relation_heads=7).relation_heads == 7
