"""The program of a distillation step: its intermediates, and its communication between devices."""

import re

import jax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from flax_lite.distillation.objective import distillation_objective, fit_recipe
from flax_lite.distillation.recipe import DistillationRecipe
from flax_lite.models import params as sharding
from flax_lite.models.params import get_params, tree_shardings
from tests.flax_lite import distillation_cases as cases
from tests.flax_lite import jaxprs, tiny
from tests.flax_lite.distillation_cases import LENGTH, ROWS, STUDENT, TEACHER

# DistilBERT's losses, and a vocabulary that is larger than all other sizes.
DEFAULT, VOCABULARY = {"soft_cross_entropy": 5.0, "mlm": 2.0, "cosine": 1.0}, 997


def test_step_holds_no_array_over_tokens_and_vocabulary():
    """Forward and backward, student and teacher: at most the logits of one chunk of 4 of 10 tokens exist."""
    student, teacher = (tiny.make("MaskedLM", config.replace(vocab_size=VOCABULARY)) for config in (STUDENT, TEACHER))
    step = cases.training_step(student, teacher, cases.recipe_of(DEFAULT), accumulation_steps=2)
    arguments = cases.first_state(student), cases.make_batch(), get_params(teacher)
    largest = jaxprs.largest_intermediates(jax.make_jaxpr(step)(*arguments))[0]
    rows = ROWS // 2
    assert largest.elements < rows * LENGTH * VOCABULARY, largest
    # All 5 masked positions of each row at once.
    assert largest.elements == rows * 5 * VOCABULARY, largest


ATTENTION = DistillationRecipe(
    losses=dict.fromkeys(("attention_mse", "attention_relation", "value_relation"), 1.0),
    layer_map=((-1, -1),),
    num_chunks=2,
)


def largest_scores(student_depth, teacher_depth, trains):
    """Returns the size of the largest array over pairs of tokens, in an evaluation or a train step."""
    configs = STUDENT.replace(num_hidden_layers=student_depth), tiny.bert(num_hidden_layers=teacher_depth)
    student, teacher = (tiny.make("Encoder", config) for config in configs)
    recipe, batch = fit_recipe(ATTENTION, *configs), cases.make_batch()
    if trains:
        step = cases.training_step(student, teacher, recipe)
        program = jax.make_jaxpr(step)(cases.first_state(student), batch, get_params(teacher))
    else:
        objective = distillation_objective(recipe, nnx.graphdef(teacher))
        program = jaxprs.trace(
            lambda *args: objective.sums(*args[:2], None, args[2]), student, batch, get_params(teacher)
        )
    return max(item.elements for item in jaxprs.intermediates(program) if item.shape[-2:] == (LENGTH, LENGTH))


def test_step_captures_the_requested_layers_only():
    """Scores of one layer, whatever the depth. A train step keeps those of all student layers for the backward pass, as
    without a teacher; nothing is kept for the teacher.
    """
    one = ROWS * 3 * LENGTH**2
    assert largest_scores(5, 5, trains=False) == one
    assert largest_scores(2, 5, trains=True) == 2 * one


def on_mesh(mesh, losses):
    """Compares a step's gradient and metrics with rows over all devices and parameters sharded by the rules.

    Returns the compiled program as text, and whether parameters of student and teacher are split.
    """
    student, teacher = cases.models()
    state, params = cases.first_state(student), get_params(teacher)
    rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    state, params = (jax.device_put(tree, tree_shardings(tree, mesh)) for tree in (state, params))
    arguments = state, jax.device_put(cases.make_batch(), rows), params
    step = jax.jit(cases.training_step(student, teacher, cases.recipe_of(losses)))
    compiled = step.lower(*arguments).compile()
    after, metrics = compiled(*arguments)
    split = [
        any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(tree))
        for tree in (state["params"], params)
    ]
    cases.assert_mixture(after, metrics, losses)
    return compiled.as_text(), split


def test_step_agrees_on_eight_devices_and_communicates_no_logits():
    """Each device processes its own rows: devices exchange sums and parameter gradients, and no array whose last axis
    is the vocabulary except the gradient of the output bias.
    """
    program, split = on_mesh(tiny.mesh(8), cases.MIXTURE)
    assert split == [False, False]
    assert "all-reduce" in program
    assert not any(name in program for name in ("all-gather", "all-to-all", "collective-permute"))
    logits = re.compile(rf"\[(\d+,)+{STUDENT.vocab_size}\]")
    assert logits.search(program)
    assert not [line for line in program.splitlines() if "all-reduce" in line and logits.search(line)]


def test_step_agrees_with_parameters_split_over_devices(monkeypatch):
    """Of student and teacher, by the table of rules, whose minimum size is lowered for these small matrices."""
    monkeypatch.setattr(sharding, "_MIN_SPLIT_ELEMENTS", 1)
    program, split = on_mesh(tiny.mesh(2, 4), cases.FEW)
    assert split == [True, True]
    assert "all-gather" in program
