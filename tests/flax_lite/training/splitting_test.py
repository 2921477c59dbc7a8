"""A step of any objective computes the same for a batch that is split, padded or sharded, or refuses the objective.

Sums and divisors are those of the whole batch: a mean of means, a divisor with a lower bound, or a counted row of
weight 0 would fail. Tolerance: 1e-6 of the largest value, for float32 sums in another order.
"""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from flax_lite.distillation.objective import distillation_objective
from flax_lite.models.params import get_params
from flax_lite.question_answering.beam import BeamQuestionAnswering, beam_objective
from flax_lite.training import steps
from flax_lite.training.objective import masked_lm_objective, pretraining_objective
from flax_lite.training.sentence_objectives import sentence_objective
from flax_lite.training.task_objectives import Teaching, task_objective
from tests.flax_lite import distillation_cases as cases
from tests.flax_lite import tiny

ROWS, LENGTH, CLASSES, CHOICES, WIDTH = 8, 10, 3, 2, 6
# The first class is so frequent that the weights of a micro-batch sum to less than 1.
WEIGHTS = (0.05, 0.3, 9.0)
ONE_LAYER = {"num_hidden_layers": 1, **cases.WITHOUT_DROPOUT}


class Toy(nnx.Module):
    """A model of few parameters and independent rows, with the outputs of every head."""

    def __init__(self, seed):
        draw = np.random.default_rng(seed)
        self.table = nnx.Param(jnp.asarray(draw.normal(size=(cases.STUDENT.vocab_size, WIDTH)), jnp.float32))
        self.head = nnx.Param(jnp.asarray(draw.normal(size=(WIDTH, CLASSES)), jnp.float32))

    def __call__(self, input_ids, attention_mask, key=None, capture=(), capture_layers=(), **others):
        read = attention_mask[..., None].astype(jnp.float32)
        words = self.table[...][input_ids] * read
        mean = words.sum(-2) / jnp.maximum(read.sum(-2), 1.0)
        tokens = jnp.tanh(words + mean[..., None, :])
        of_tokens, of_rows = tokens @ self.head[...], mean @ self.head[...]
        return types.SimpleNamespace(
            logits=of_rows,
            choices=of_rows[..., 0],
            tags=of_tokens,
            start_logits=of_tokens[..., 0],
            end_logits=of_tokens[..., 1],
            last_hidden_state=tokens,
            captured={"outputs": [tokens] * len(capture_layers)},
        )


class Choosing(Toy):
    def __call__(self, *args, **kwargs):
        return types.SimpleNamespace(logits=super().__call__(*args, **kwargs).choices)


class Tagging(Toy):
    def __call__(self, *args, **kwargs):
        found = super().__call__(*args, **kwargs)
        return types.SimpleNamespace(logits=found.tags, captured=found.captured)


@functools.cache
def make_batch(sequences=1):
    """Rows of every length with the entries for all objectives; the last one only fills the batch."""
    draw = np.random.default_rng(3)
    rows = {name: np.asarray(array) for name, array in cases.make_batch(packed=False).items()}
    if sequences > 1:
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            rows[name] = np.stack([np.roll(rows[name], turn, axis=0) for turn in range(sequences)], axis=1)
    begins = draw.random((ROWS, LENGTH)) < 0.5
    rows |= {
        "sentence_label": np.int32([0, 1, 1, 0, 1, 0, 0, 1]),
        "labels": np.int32([0, 0, 1, 0, 2, 0, 0, 1]) % (CHOICES if sequences > 1 else CLASSES),
        "several": draw.integers(0, 2, (ROWS, CLASSES)).astype(np.float32),
        "tags": np.where(begins & (rows["attention_mask"].reshape(ROWS, -1)[:, :LENGTH] > 0), 1, -1).astype(np.int32),
        "starts": np.int32([0, 1, 2, 0, 3, 1, 2, 1]),
        "ends": np.int32([0, 2, 2, 0, 4, 2, 3, 1]),
        "teacher_0": draw.normal(size=(ROWS, CLASSES)).astype(np.float32),
    }
    return rows


def teaching(**more):
    losses = {"soft_cross_entropy": 0.5, "logit_mse": 0.1}
    return Teaching(**{"structure": nnx.graphdef(Toy(1)), "losses": losses, **more})


def sentences(loss):
    return lambda: (sentence_objective(loss, "mean"), Toy(0), {"labels": make_batch(2)["several"][:, :1]}, 2, ())


def task(kind, model=Toy, problem="single_label", *, rows=None, sequences=1, constants=(), **options):
    return lambda: (task_objective(kind, problem, **options), model(0), rows or {}, sequences, constants)


def words(kind, objective, family):
    return lambda: (objective, tiny.make(kind, family(**ONE_LAYER)), {}, 1, ())


def beam():
    """All but the first token belong to the context, where an answer may be; without the head's dropout, which each
    micro-batch draws separately.
    """
    types = make_batch()["attention_mask"] * (np.arange(LENGTH) > 0).astype(np.int32)
    model = tiny.make(BeamQuestionAnswering, tiny.bert(**ONE_LAYER))
    objective = beam_objective()
    without = dataclasses.replace(objective, sums=lambda model, batch, key: objective.sums(model, batch, None))
    return without, model, {"token_type_ids": types}, 1, ()


def distillation():
    student, teacher = cases.models()
    objective = distillation_objective(cases.recipe_of(cases.FEW), nnx.graphdef(teacher))
    return objective, student, {}, 1, (get_params(teacher),)


# Name to objective, model, further entries of the batch, sequences per row, and constants of the step.
OBJECTIVES = {
    "masked_lm": words("MaskedLM", masked_lm_objective(), tiny.distilbert),
    "pretraining": words("PreTraining", pretraining_objective(), tiny.albert),
    "cosine": sentences("cosine"),
    "contrastive": sentences("contrastive"),
    "classification": task("classification"),
    "class_weights": task("classification", class_weights=WEIGHTS),
    "multi_label": task("classification", problem="multi_label", rows={"labels": make_batch()["several"]}),
    "regression": task("classification", problem="regression", rows={"labels": make_batch()["several"]}),
    "taught": task("classification", teaching=teaching(), task_weight=0.5, constants=(get_params(Toy(1)),)),
    "taught_by_logits": task("classification", teaching=teaching(structure=None)),
    "tags": task(
        "tags",
        Tagging,
        teaching=teaching(
            structure=nnx.graphdef(Tagging(1)), losses={"logit_mse": 0.1, "hidden_mse": 1.0}, layer_map=((0, 0),)
        ),
        constants=(get_params(Tagging(1)),),
    ),
    "spans": task("spans"),
    "choices": task("choices", Choosing, sequences=CHOICES),
    "beam": beam,
    "distillation": distillation,
}


@functools.cache
def setup(name):
    objective, model, rows, sequences, constants = OBJECTIVES[name]()
    return objective, model, make_batch(sequences) | rows, constants


def run_step(name, accumulation_steps, batch, constants):
    """Returns the metrics and the gradient of a step."""
    objective, model, _, _ = setup(name)
    optimizer = cases.keep_gradient()
    step = steps.make_train_step(
        nnx.graphdef(model), objective, optimizer, seed=0, accumulation_steps=accumulation_steps
    )
    state, metrics = jax.jit(step)(steps.init_state(model, optimizer), batch, *constants)
    return jax.device_get((metrics, state["opt_state"]))


@functools.cache
def whole(name):
    _, _, batch, constants = setup(name)
    return run_step(name, 1, batch, constants)


def assert_same(found, expected):
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(expected[1]))
    assert largest > 1e-3
    assert found[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        assert found[0][name] == pytest.approx(value, rel=1e-6, abs=1e-6), name
    for leaf, other in zip(jax.tree.leaves(expected[1]), jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_allclose(other, leaf, rtol=0, atol=1e-6 * max(1.0, largest))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_change_nothing(name):
    """Micro-batches of one row each, some of very small weight."""
    objective, _, batch, constants = setup(name)
    if objective.compares_rows:
        with pytest.raises(ValueError, match="accumulation_steps=8: this loss compares all rows of a batch"):
            run_step(name, ROWS, batch, constants)
        return
    assert_same(run_step(name, ROWS, batch, constants), whole(name))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_empty_rows_and_devices_change_nothing(name):
    """Twice the rows, the second half without tokens or weights; half of the 8 devices have only such rows."""
    _, _, batch, constants = setup(name)
    mesh = tiny.mesh(4, 2)
    rows, everywhere = NamedSharding(mesh, PartitionSpec(mesh.axis_names)), NamedSharding(mesh, PartitionSpec())
    filled = {each: np.concatenate([array, np.zeros_like(array)]) for each, array in batch.items()}
    found = run_step(name, 1, jax.device_put(filled, rows), jax.device_put(constants, everywhere))
    assert_same(found, whole(name))
