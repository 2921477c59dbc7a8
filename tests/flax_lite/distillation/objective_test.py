"""The distillation objective in a step: weighted losses, gradients, micro-batches, widths and families."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flax_lite.distillation.objective import (
    Projections,
    distillation_objective,
    fit_recipe,
    needed_projections,
    student_predicts_words,
    teacher_predicts_words,
)
from flax_lite.distillation.recipe import DistillationRecipe
from flax_lite.models.params import get_params
from tests.flax_lite import distillation_cases as cases
from tests.flax_lite import jaxprs, tiny
from tests.flax_lite.distillation_cases import MIXTURE


def test_objective_sums_weighted_losses_over_micro_batches():
    """Each metric is an average, also for a loss of weight 0; the loss and its gradient are their weighted sums.
    Squared errors of logits are measured but not optimized: with a weight above 0 they would dominate.

    The 4 micro-batches of 2 rows have different numbers of tokens, masks and texts, but the divisors are those of the
    whole batch.
    """
    student, teacher = cases.models()
    step = jax.jit(cases.training_step(student, teacher, cases.recipe_of(cases.FEW), accumulation_steps=4))
    state, metrics = step(cases.first_state(student), cases.make_batch(), get_params(teacher))
    cases.assert_mixture(state, metrics, cases.FEW)


def test_objective_has_metrics_of_all_losses_and_optimizes_those_with_weight():
    recipe = cases.recipe_of({"mlm": 2.0, "cosine": 0.0})
    objective = distillation_objective(recipe, nnx.graphdef(cases.models()[1]))
    assert objective.names == ("mlm_loss", "mlm_accuracy", "cosine_loss")
    assert objective.losses == {"mlm_loss": 2.0}
    assert objective.weights(cases.make_batch()).keys() == set(objective.names)


def test_objective_has_no_dropout_in_the_teacher():
    """Both configurations have dropout; a key only draws bits for the student's forward pass."""
    student, teacher = (tiny.make("MaskedLM", make()) for make in (tiny.distilbert, tiny.bert))
    recipe = fit_recipe(DistillationRecipe(losses={"cosine": 1.0}), student.config, teacher.config)
    objective = distillation_objective(recipe, nnx.graphdef(teacher))
    batch, key = cases.make_batch(), jax.random.key(0)
    inputs = batch["input_ids"], batch["attention_mask"]
    alone = jaxprs.random_bit_shapes(jaxprs.trace(student.encoder, *inputs, key=key))
    taught = jaxprs.trace(objective.sums, student, batch, key, get_params(teacher))
    assert alone
    assert jaxprs.random_bit_shapes(taught) == alone


@pytest.mark.parametrize(("family", "teacher_family"), [("albert", "distilbert"), ("bert", "albert")])
def test_objective_takes_any_two_families(family, teacher_family):
    """All losses between models of equal sizes, traced only: families differ in nothing but shapes here."""
    student = tiny.make("MaskedLM", tiny.FAMILIES[family](num_hidden_layers=2))
    teacher = tiny.make("MaskedLM", tiny.FAMILIES[teacher_family]())
    recipe = fit_recipe(DistillationRecipe(losses=MIXTURE), student.config, teacher.config)
    objective = distillation_objective(recipe, nnx.graphdef(teacher))
    sums = jax.eval_shape(objective.sums, student, cases.make_batch(), jax.random.key(0), get_params(teacher))
    assert sums.keys() == set(objective.names)
    assert {(total.shape, total.dtype) for total in sums.values()} == {((), jnp.dtype(jnp.float32))}


@pytest.mark.parametrize(
    ("losses", "student", "teacher"),
    [(("mlm",), True, False), (("logit_mse",), True, True), (("cosine", "value_relation"), False, False)],
)
def test_predicts_words_for_losses_that_read_the_head(losses, student, teacher):
    recipe = DistillationRecipe(losses=dict.fromkeys(losses, 1.0))
    assert student_predicts_words(recipe) == student
    assert teacher_predicts_words(recipe) == teacher


def test_needed_projections_are_those_that_losses_can_use():
    needed = lambda *losses: needed_projections(DistillationRecipe(losses=dict.fromkeys(losses, 1.0)))  # noqa: E731
    assert needed("mlm", "cosine", "value_relation") == ()
    assert needed("sentence_mse", "hidden_mse") == ("hidden",)
    assert needed("embedding_mse", "hidden_mse") == ("embedding", "hidden")


@pytest.fixture(scope="module")
def projected():
    """A student with another family, width and number of heads than its teacher; Encoders, as no loss reads words."""
    student_config = tiny.albert(num_hidden_layers=2, **cases.WITHOUT_DROPOUT)
    teacher_config = tiny.bert(hidden_size=16, num_attention_heads=4, **cases.WITHOUT_DROPOUT)
    losses = dict.fromkeys(("hidden_mse", "embedding_mse", "sentence_mse", "query_relation"), 1.0)
    requested = DistillationRecipe(losses=losses, relation_heads=2)
    recipe = fit_recipe(requested, student_config, teacher_config, project=True)
    student, teacher = (tiny.make("Encoder", config) for config in (student_config, teacher_config))
    plain = get_params(student)
    student.projections = Projections(needed_projections(recipe), 12, 16, rngs=nnx.Rngs(5))
    program = cases.measuring(student, teacher, recipe)

    def measure(**factors):
        batch = cases.make_batch()
        return program(get_params(student), get_params(teacher), batch, cases.factors_of(recipe, **factors))

    return student, teacher, plain, measure


def test_projections_map_the_student_to_its_teacher(projected):
    """The sum over tokens of |h W - g|^2 / D for pairs of layers and for the embeddings: equations 8 and 9 of TinyBERT,
    whose MSE is a mean over the width.
    """
    student, teacher, _, measure = projected
    batch = cases.make_batch()
    inputs = {name: array for name, array in batch.items() if name.endswith("_ids") and name != "masked_ids"}
    student_states, teacher_states = (
        jax.device_get(
            tiny.call(model, attention_mask=batch["attention_mask"], output_hidden_states=True, **inputs).hidden_states
        )
        for model in (student, teacher)
    )
    maps, batch = jax.device_get((get_params(student)["projections"], batch))
    used = batch["attention_mask"] * batch["row_weights"][:, None]

    def error(name, student_layer, teacher_layer):
        difference = student_states[student_layer] @ maps[name]["kernel"] - teacher_states[teacher_layer]
        return np.sum(used * (difference**2).mean(-1))

    sums = measure().sums
    # Layer 1 of 2 is paired with layer 2 of 3; hidden states start with the embeddings.
    np.testing.assert_allclose(sums["hidden_mse_loss"], error("hidden", 1, 2) + error("hidden", 2, 3), rtol=1e-5)
    np.testing.assert_allclose(sums["embedding_mse_loss"], error("embedding", 0, 0), rtol=1e-5)


def test_projections_are_trained_with_the_student(projected):
    """Each loss trains only the projection that it uses; the other parameters are those of the student without them."""
    _, _, plain, measure = projected
    for metric, used in (
        ("hidden_mse_loss", "hidden"),
        ("sentence_mse_loss", "hidden"),
        ("embedding_mse_loss", "embedding"),
        ("query_relation_loss", None),
    ):
        gradient = jax.device_get(measure(**{metric: 1.0}).student)
        maps = gradient.pop("projections")
        assert maps.keys() == {"hidden", "embedding"}
        trained = {name for name, map_ in maps.items() if map_["kernel"].any()}
        assert trained == ({used} if used else set()), metric
        assert jax.tree.map(np.shape, gradient) == jax.tree.map(np.shape, plain)
        assert gradient["embeddings"]["word"]["embedding"].any()
