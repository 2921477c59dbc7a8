"""A student, its teacher, a batch of packed and padded rows, and the formula of each distillation loss.

Sizes are those of `tests.flax_lite.tiny`, with B=8 and T=10; the teacher is a BERT of 3 layers, the student a
DistilBERT of 2. There is no dropout, so that a step is comparable with a formula.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from flax_lite.distillation.losses import LOSSES
from flax_lite.distillation.objective import distillation_objective, fit_recipe
from flax_lite.distillation.recipe import DistillationRecipe
from flax_lite.distillation.relations import attention_divergence, attention_score_error, relation_divergence
from flax_lite.layers.attention import attention_visibility
from flax_lite.models.params import get_params, with_params
from flax_lite.training import objective, steps
from flax_lite.training.losses import cosine_distance, distillation_kl, logit_squared_error, mean_squared_error
from tests.flax_lite import tiny

# Lengths of the texts of each row; the rest is padding. T // 3 is the maximum number of texts per row.
TEXTS = ((3, 4, 3), (5, 3), (6,), (4, 5), (10,), (3, 3, 3), (7,), (4, 4))
ROWS, LENGTH, PREDICTIONS = len(TEXTS), 10, 5
WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
STUDENT = tiny.distilbert(num_hidden_layers=2, intermediate_size=16, **WITHOUT_DROPOUT)
TEACHER = tiny.bert(**WITHOUT_DROPOUT)
# 3 chunks of 4 tokens, the last one short; relation heads that do not align with the 3 heads; and layer pairs in which
# swapping teacher and student would fail.
OPTIONS: dict[str, Any] = {
    "temperature": 3.0,
    "num_chunks": 3,
    "relation_heads": 2,
    "layer_map": ((-1, 0), (0, -1)),
    "relation_layers": (-2, -2),
}
LAYER_MAP, RELATION_LAYERS = ((2, 0), (0, 1)), (1, 0)
# Every loss with a different weight; one is measured but not optimized.
MIXTURE = {name: 0.25 + 0.125 * index for index, name in enumerate(LOSSES)} | {"logit_mse": 0.0}
# A few of them, with every divisor and every kind of captured value.
FEW = {name: MIXTURE[name] for name in ("soft_cross_entropy", "logit_mse", "mlm", "value_relation", "sentence_mse")}
METRICS = {name: loss.metrics[0] for name, loss in LOSSES.items()}
PARTS = {"query": "queries", "key": "keys", "value": "values"}


def make_batch(packed: bool = True, seed: int = 11) -> dict[str, jax.Array]:
    """Rows with padding, unused masked slots, and a last row that only fills the batch.

    In the packed rows the student predicts 3 words correctly, so that its accuracy is not 0.
    """
    random = np.random.default_rng(seed)
    texts = TEXTS if packed else [[sum(lengths)] for lengths in TEXTS]
    rows = {name: np.zeros((ROWS, LENGTH), np.int32) for name in ("segment_ids", "position_ids")}
    for row, lengths in enumerate(texts):
        used = sum(lengths)
        rows["segment_ids"][row, :used] = np.repeat(np.arange(len(lengths)) + 1, lengths)
        rows["position_ids"][row, :used] = np.concatenate([np.arange(length) for length in lengths])
    mask = (rows["segment_ids"] > 0).astype(np.int32)
    shape = (ROWS, PREDICTIONS)
    positions = np.sort(np.stack([random.permutation(int(used))[:PREDICTIONS] for used in mask.sum(1)]), axis=1)
    batch = {
        "input_ids": random.integers(1, STUDENT.vocab_size, mask.shape) * mask,
        "attention_mask": mask,
        "token_type_ids": random.integers(0, 2, mask.shape) * mask,
        "masked_positions": positions,
        "masked_ids": random.integers(1, STUDENT.vocab_size, shape),
        "masked_weights": (random.random(shape) < 0.6).astype(np.float32),
        "row_weights": np.asarray([1] * (ROWS - 1) + [0], np.float32),
        **(rows if packed else {}),
    }
    return {
        name: jnp.asarray(array, array.dtype if array.dtype == np.float32 else jnp.int32)
        for name, array in batch.items()
    }


def counts(batch: dict[str, jax.Array]) -> dict[str, float]:
    """Counts tokens, masked slots and texts of rows with weight."""
    found = {"token": 0, "mask": 0, "sentence": 0}
    batch = jax.device_get(batch)
    for row in range(ROWS):
        if batch["row_weights"][row]:
            found["token"] += int(batch["attention_mask"][row].sum())
            found["mask"] += int((batch["masked_weights"][row] > 0).sum())
            found["sentence"] += len(TEXTS[row]) if "segment_ids" in batch else 1
    return found


def divisors(batch: dict[str, jax.Array], recipe: DistillationRecipe) -> dict[str, float]:
    """Returns the divisor of each metric."""
    number = counts(batch)
    found = {METRICS[name]: number["token"] for name in LOSSES}
    if recipe.restrict_to_mask:
        found |= dict.fromkeys(("soft_cross_entropy_loss", "logit_mse_loss"), number["mask"])
    return found | {
        "mlm_loss": number["mask"],
        "mlm_accuracy": number["mask"],
        "sentence_mse_loss": number["sentence"],
    }


def formulas(recipe: DistillationRecipe, batch: dict[str, jax.Array], student: Any, teacher: Any) -> objective.Sums:
    """Returns the sum of each loss from both models' full outputs: all layers, and the logits of all tokens at once."""
    counted = {name: np.asarray(array)[np.asarray(batch["row_weights"]) > 0] for name, array in batch.items()}
    batch = jax.tree.map(jnp.asarray, counted)
    mask, segments = batch["attention_mask"], batch.get("segment_ids")
    visible = attention_visibility(mask, segments)
    s, t = (
        model(
            **{name: array for name, array in batch.items() if name.endswith("_ids") and name != "masked_ids"},
            attention_mask=mask,
            output_hidden_states=True,
            capture=("scores", *PARTS.values()),
            capture_layers=tuple(range(model.config.num_hidden_layers)),
        )
        for model in (student, teacher)
    )
    hidden = lambda t_layer, s_layer: (s.hidden_states[s_layer], t.hidden_states[t_layer])  # noqa: E731
    captured = lambda name, t_layer, s_layer: (s.captured[name][s_layer], t.captured[name][t_layer])  # noqa: E731
    slots = batch["masked_weights"]
    masked = [jnp.take_along_axis(x.logits, batch["masked_positions"][:, :, None], axis=1) for x in (s, t)]
    logits, weights = (masked, slots) if recipe.restrict_to_mask else ((s.logits, t.logits), mask)
    chosen = jax.nn.one_hot(batch["masked_ids"], student.config.vocab_size)
    sums = {
        "soft_cross_entropy_loss": jnp.sum(weights * distillation_kl(*logits, recipe.temperature)),
        "logit_mse_loss": jnp.sum(weights * logit_squared_error(*logits)),
        "mlm_loss": -jnp.sum(slots[:, :, None] * chosen * jax.nn.log_softmax(masked[0])),
        "mlm_accuracy": jnp.sum(slots * (masked[0].argmax(-1) == batch["masked_ids"])),
        "cosine_loss": jnp.sum(mask * cosine_distance(*hidden(-1, -1))),
        "embedding_mse_loss": jnp.sum(mask * mean_squared_error(*hidden(0, 0))),
        "hidden_mse_loss": sum(
            jnp.sum(mask * mean_squared_error(*hidden(t_layer + 1, s_layer + 1))) for t_layer, s_layer in LAYER_MAP
        ),
        "attention_mse_loss": sum(
            jnp.sum(mask * attention_score_error(*captured("scores", *pair), visible)) for pair in LAYER_MAP
        ),
        "attention_relation_loss": jnp.sum(mask * attention_divergence(*captured("scores", *RELATION_LAYERS), visible)),
    }
    for one, many in PARTS.items():
        losses = relation_divergence(*captured(many, *RELATION_LAYERS), visible, recipe.relation_heads)
        sums[f"{one}_relation_loss"] = jnp.sum(mask * losses)
    texts = [
        (row, np.flatnonzero(numbers == number))
        for row, numbers in enumerate(counted.get("segment_ids", counted["attention_mask"]))
        for number in range(1, numbers.max() + 1)
    ]
    vectors = [jnp.stack([x[row, tokens].mean(0) for row, tokens in texts]) for x in hidden(-1, -1)]
    return sums | {"sentence_mse_loss": jnp.sum(mean_squared_error(*vectors))}


class Measured(NamedTuple):
    """Sums and weights of a batch by name, and gradients with respect to the parameters of student and teacher."""

    sums: objective.Sums
    weights: objective.Sums
    student: Any
    teacher: Any


def recipe_of(losses: dict[str, float], **options: Any) -> DistillationRecipe:
    """Returns a resolved recipe for STUDENT and TEACHER."""
    return fit_recipe(DistillationRecipe(losses=losses, **{**OPTIONS, **options}), STUDENT, TEACHER)


def measuring(student: Any, teacher: Any, recipe: DistillationRecipe) -> Any:
    """Creates a program (student's parameters, teacher's, batch, cotangent of each sum) -> Measured."""
    evaluate = steps.make_eval_step(nnx.graphdef(student), distillation_objective(recipe, nnx.graphdef(teacher)))

    @jax.jit
    def program(params: Any, teacher_params: Any, batch: objective.Batch, factors: objective.Sums) -> Measured:
        def sums(params: Any, teacher_params: Any) -> tuple[objective.Sums, objective.Sums]:
            found = evaluate(params, batch, teacher_params)
            return found["sums"], found["weights"]

        found, pull, weights = jax.vjp(sums, params, teacher_params, has_aux=True)
        return Measured(found, weights, *pull(factors))

    return program


def formula_measuring(student: Any, teacher: Any, recipe: DistillationRecipe, batch: dict[str, jax.Array]) -> Any:
    """Creates a program (student's parameters, cotangent of each sum) -> sums and gradient by the formulas."""
    structure = nnx.graphdef(student)

    @jax.jit
    def program(params: Any, factors: objective.Sums) -> tuple[objective.Sums, Any]:
        def sums(params: Any) -> objective.Sums:
            found = formulas(recipe, batch, with_params(structure, params), teacher)
            return {name: found[name] for name in factors}

        found, pull = jax.vjp(sums, params)
        return found, pull(factors)[0]

    return program


def factors_of(recipe: DistillationRecipe, **values: float) -> dict[str, jax.Array]:
    """Returns a cotangent for each metric of a recipe, 0 unless given."""
    names = [metric for name in recipe.losses for metric in LOSSES[name].metrics]
    return {name: jnp.float32(values.get(name, 0.0)) for name in names}


@functools.cache
def models() -> tuple[Any, Any]:
    """Returns the student and its teacher."""
    return tiny.make("MaskedLM", STUDENT, seed=1), tiny.make("MaskedLM", TEACHER)


def keep_gradient() -> optax.GradientTransformation:
    """An optimizer without updates whose state is the last gradient."""
    zeros = functools.partial(jax.tree.map, np.zeros_like)
    no_update = functools.partial(jax.tree.map, jnp.zeros_like)
    return optax.GradientTransformation(zeros, lambda gradient, state, params=None: (no_update(gradient), gradient))


def assert_same_gradient(got: Any, expected: Any) -> None:
    """Compares gradients within 1e-5 of each leaf's largest element, the tolerance between layouts.

    A gradient that is mathematically zero, such as that of the key bias (softmax is invariant to a shift of all keys),
    is rounding noise, which is compared with the largest gradient.
    """
    got, expected = jax.device_get((got, expected))
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    for (path, leaf), other in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(got), strict=True):
        scale = max(np.abs(leaf).max(), 1e-2 * largest)
        assert np.abs(leaf - other).max() <= 1e-5 * scale, jax.tree_util.keystr(path)


def training_step(student: Any, teacher: Any, recipe: DistillationRecipe, accumulation_steps: int = 1) -> Any:
    """Creates the train step with `keep_gradient` as optimizer."""
    objective = distillation_objective(recipe, nnx.graphdef(teacher))
    optimizer = keep_gradient()
    return steps.make_train_step(
        nnx.graphdef(student), objective, optimizer, seed=3, accumulation_steps=accumulation_steps
    )


@functools.cache
def mixture_formulas() -> Any:
    """Returns the program of `formula_measuring` for all losses, compiled once."""
    return formula_measuring(*models(), recipe_of(MIXTURE), make_batch())


def first_state(student: Any) -> steps.TrainState:
    """Returns the train state before the first step."""
    return steps.init_state(student, keep_gradient())


def assert_mixture(state: steps.TrainState, metrics: dict[str, jax.Array], losses: dict[str, float]) -> None:
    """Compares a step's metrics and gradient with the formulas, for `losses` out of MIXTURE."""
    divisor_of = divisors(make_batch(), recipe_of(MIXTURE))
    factors = {METRICS[name]: losses[name] / divisor_of[METRICS[name]] for name in losses}
    sums, gradient = mixture_formulas()(get_params(models()[0]), factors_of(recipe_of(MIXTURE), **factors))
    names = factors_of(recipe_of(losses)).keys()
    terms = {METRICS[name] for name, factor in losses.items() if factor}
    assert metrics.keys() == names | {"loss", "grad_norm"} | {f"{term}_weight" for term in terms}
    means = {name: float(sums[name]) / divisor_of[name] for name in names}
    for name, mean in means.items():
        np.testing.assert_allclose(metrics[name], mean, rtol=1e-5, err_msg=name)
    for term in terms:
        np.testing.assert_allclose(metrics[f"{term}_weight"], divisor_of[term], rtol=1e-6)
    total = sum(weight * means[METRICS[name]] for name, weight in losses.items())
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    assert_same_gradient(state["opt_state"], gradient)
