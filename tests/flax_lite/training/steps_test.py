"""Pure steps: results do not depend on how a batch is split, padded or sharded."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from scipy import special

from flax_lite.rows.token_masks import mask_tokens
from flax_lite.training import steps
from flax_lite.training.objective import Objective, averages, masked_lm_objective, pretraining_objective
from flax_lite.training.sentence_objectives import sentence_objective
from tests.flax_lite import tiny
from tests.flax_lite.distillation_cases import assert_same_gradient, keep_gradient
from tests.flax_lite.jaxprs import largest_intermediates

ALBERT = tiny.albert()
PLAIN = ALBERT.replace(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
ROWS, LENGTH, PREDICTIONS, SEED = 16, 16, 4, 3
TOKENS = ("input_ids", "attention_mask", "token_type_ids")


def make_batch(rows=ROWS):
    rng = np.random.default_rng(0)
    lengths = rng.integers(8, LENGTH + 1, rows)
    mask = np.arange(LENGTH)[None, :] < lengths[:, None]
    positions = np.sort(rng.permuted(np.tile(np.arange(8), (rows, 1)), axis=1)[:, :PREDICTIONS], axis=1)
    return {
        "input_ids": rng.integers(0, 41, (rows, LENGTH)).astype(np.int32) * mask,
        "attention_mask": mask.astype(np.int32),
        "token_type_ids": ((np.arange(LENGTH) > 6)[None, :] & mask).astype(np.int32),
        "masked_positions": positions.astype(np.int32),
        "masked_ids": rng.integers(0, 41, (rows, PREDICTIONS)).astype(np.int32),
        "masked_weights": (rng.random((rows, PREDICTIONS)) < 0.8).astype(np.float32),
        "sentence_label": rng.integers(0, 2, rows).astype(np.int32),
        "row_weights": np.ones(rows, np.float32),
    }


def hide_tokens(key, batch):
    """Masks tokens as DistilBERT does, with weights that exclude id 0, the padding."""
    weights = jnp.arange(41, dtype=jnp.float32)
    inputs = jnp.asarray(batch["input_ids"]), jnp.asarray(batch["attention_mask"])
    return {**batch, **mask_tokens(key, *inputs, weights, max_predictions=12, mask_id=4)}


def unmasked(batch):
    return {name: array for name, array in batch.items() if not name.startswith("masked_")}


@functools.cache
def setup(config, accumulation_steps=1, prepare=hide_tokens):
    model = tiny.make("PreTraining", config)
    step = steps.make_train_step(
        nnx.graphdef(model),
        pretraining_objective(),
        keep_gradient(),
        seed=SEED,
        accumulation_steps=accumulation_steps,
        prepare=prepare,
    )
    return steps.init_state(model, keep_gradient()), jax.jit(step)


@functools.cache
def first_step(config, accumulation_steps=1):
    """State and metrics after a step of a batch without masks, which the step draws."""
    state, step = setup(config, accumulation_steps)
    return jax.device_get(step(state, unmasked(make_batch())))


@functools.cache
def masked_batch():
    """The batch with the masks of that step."""
    return jax.device_get(jax.jit(hide_tokens)(steps.preparation_key(SEED, 0), unmasked(make_batch())))


@functools.cache
def evaluation():
    return jax.jit(steps.make_eval_step(nnx.graphdef(tiny.make("PreTraining", ALBERT)), pretraining_objective()))


def losses_of(logits, labels):
    return -np.take_along_axis(special.log_softmax(logits, axis=-1), labels[..., None], axis=-1)[..., 0]


def test_train_step_metrics_are_averages_over_weights():
    batch, (_, metrics) = masked_batch(), first_step(PLAIN)
    output = tiny.call(tiny.make("PreTraining", PLAIN), *(batch[name] for name in TOKENS))
    logits, sentences = np.asarray(output.prediction_logits), np.asarray(output.sop_logits)
    logits = np.take_along_axis(logits, batch["masked_positions"][:, :, None], axis=1)
    words = np.average(losses_of(logits, batch["masked_ids"]), weights=batch["masked_weights"])
    right = np.average(logits.argmax(-1) == batch["masked_ids"], weights=batch["masked_weights"])
    np.testing.assert_allclose(metrics["mlm_loss"], words, rtol=1e-5)
    np.testing.assert_allclose(metrics["mlm_accuracy"], right, rtol=1e-6)
    np.testing.assert_allclose(metrics["sop_loss"], losses_of(sentences, batch["sentence_label"]).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], metrics["mlm_loss"] + metrics["sop_loss"], rtol=1e-6)
    np.testing.assert_allclose(
        metrics["sop_accuracy"], (sentences.argmax(-1) == batch["sentence_label"]).mean(), rtol=1e-6
    )


def test_train_step_accumulation_keeps_the_gradient():
    """Micro-batches have different numbers of masked words, so a mean of means would differ from a sum over weights.

    All rows of a batch share the number of masks: drawn per micro-batch, masks and loss would differ.
    """
    masks = masked_batch()["masked_weights"].sum(axis=1)
    assert len({float(masks[first::4].sum()) for first in range(4)}) > 1
    (whole, metrics_whole), (split, metrics_split) = first_step(PLAIN), first_step(PLAIN, 4)
    assert_same_gradient(split["opt_state"], whole["opt_state"])
    for name in metrics_whole:
        np.testing.assert_allclose(metrics_split[name], metrics_whole[name], rtol=1e-5)


def test_train_step_refuses_rows_that_cannot_be_split():
    state, split = setup(PLAIN, 4)
    with pytest.raises(ValueError, match="10 rows cannot be split into 4"):
        split(state, unmasked(make_batch(rows=10)))


def test_train_step_refuses_micro_batches_of_a_loss_that_compares_rows():
    objective, model = sentence_objective("contrastive", "mean"), tiny.make("Encoder", PLAIN)
    with pytest.raises(ValueError, match=r"accumulation_steps=2: this loss compares all rows .* use accumul"):
        steps.make_train_step(nnx.graphdef(model), objective, optax.sgd(0.0), seed=0, accumulation_steps=2)


def test_train_step_draws_depend_on_the_step_only():
    """The same state and batch have the same loss, another step another one: no random state is stored."""
    state, step = setup(ALBERT)
    losses = [float(step({**state, "step": np.int32(n)}, unmasked(make_batch()))[1]["loss"]) for n in (5, 6, 5)]
    assert losses[0] == losses[2]
    assert losses[0] != losses[1]


def test_train_step_with_dropout_and_masks_agrees_on_eight_devices():
    """Bits of a threefry key do not depend on the sharding, so the draw over the global batch is the same."""
    assert jax.device_count() == 8
    state, step = setup(ALBERT)
    mesh = tiny.mesh(4, 2)
    rows, everywhere = NamedSharding(mesh, PartitionSpec(mesh.axis_names)), NamedSharding(mesh, PartitionSpec())
    one, metrics_one = first_step(ALBERT)
    eight, metrics_eight = step(jax.device_put(state, everywhere), jax.device_put(unmasked(make_batch()), rows))
    assert_same_gradient(jax.device_get(eight["opt_state"]), one["opt_state"])
    np.testing.assert_allclose(metrics_eight["loss"], metrics_one["loss"], rtol=1e-5)


def drawing_step(number, accumulation_steps, prepare):
    """Returns the loss of a step whose objective is a number drawn from its key."""
    model = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    objective = Objective(
        ("drawn",),
        lambda model, batch, key: {"drawn": jax.random.uniform(key)},
        lambda batch: {"drawn": jnp.ones(())},
        {"drawn": 1.0},
    )
    step = steps.make_train_step(
        nnx.graphdef(model), objective, optax.sgd(0.0), seed=3, accumulation_steps=accumulation_steps, prepare=prepare
    )
    state = steps.init_state(model, optax.sgd(0.0)) | {"step": jnp.int32(number)}
    return step(state, jax.tree.map(jnp.asarray, make_batch()))[1]["loss"]


@pytest.mark.parametrize(("number", "accumulation_steps"), [(7, 1), (8, 2)])
def test_train_step_prepare_has_its_own_key(number, accumulation_steps):
    """The objective's keys are the step's key, or its split, bit for bit, with or without `prepare`.

    The key of `prepare` is none that the objective has or may split off: fold_in(key, i) equals the i-th key of any
    split, so a small i would collide with a key of the dropout.
    """
    seen = []
    key = jax.random.fold_in(jax.random.key(3), number)
    keys = [key] if accumulation_steps == 1 else jax.random.split(key, 2)
    expected = sum(jax.random.uniform(key) for key in keys)
    assert drawing_step(number, accumulation_steps, None) == expected
    assert drawing_step(number, accumulation_steps, lambda key, batch: seen.append(key) or batch) == expected
    split = jax.random.split(key, 1000)
    assert jax.random.fold_in(key, 5) == split[5]
    assert seen == [steps.preparation_key(3, number)]
    assert seen[0] != steps.preparation_key(3, number + 1)
    assert not (seen[0] == jnp.concatenate([split, key[None]])).any()


def test_eval_step_has_no_dropout():
    """Its averages equal those of a train step of the same model without dropout."""
    found = evaluation()(setup(ALBERT)[0]["params"], masked_batch())
    metrics = averages(found["sums"], found["weights"], {"mlm_loss": 1.0, "sop_loss": 1.0})
    for name, value in metrics.items():
        np.testing.assert_allclose(value, first_step(PLAIN)[1][name], rtol=1e-5, err_msg=name)


def test_eval_step_sums_over_batches_and_ignores_rows_without_weight():
    """Half of the rows in each of two batches, filled with other rows of weight 0."""
    batch, params = masked_batch(), setup(ALBERT)[0]["params"]
    expected = evaluation()(params, batch)
    found = []
    for half in (np.arange(ROWS) < 8, np.arange(ROWS) >= 8):
        other = {
            name: np.where(half.reshape(-1, *[1] * (array.ndim - 1)), array, array[3]) for name, array in batch.items()
        }
        found.append(evaluation()(params, {**other, "row_weights": half.astype(np.float32)}))
    for kind in ("sums", "weights"):
        for name, value in expected[kind].items():
            np.testing.assert_allclose(found[0][kind][name] + found[1][kind][name], value, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "accumulation_steps", "prepare"),
    [(ALBERT, 1, None), (tiny.bert(), 2, hide_tokens)],
    ids=["albert", "bert-split-prepared"],
)
def test_train_step_holds_no_array_over_positions_and_vocabulary(config, accumulation_steps, prepare):
    config = config.replace(vocab_size=997)
    state, step = setup(config, accumulation_steps, prepare)
    batch = jax.tree.map(jnp.asarray, make_batch())
    largest = largest_intermediates(jax.make_jaxpr(step.__wrapped__)(state, batch))[0]
    assert largest.elements < (ROWS // accumulation_steps) * LENGTH * config.vocab_size, largest


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_masked_lm_objective_sums_over_masked_positions_of_weighted_rows(family):
    objective, model = (
        masked_lm_objective(),
        tiny.make("MaskedLM", tiny.FAMILIES[family](num_hidden_layers=1)),
    )
    batch = make_batch()
    batch["row_weights"][-3:] = 0.0

    @jax.jit
    def program(model, batch):
        output = model(*(batch[name] for name in TOKENS), masked_positions=batch["masked_positions"])
        return objective.sums(model, batch, None), objective.weights(batch), output.logits

    sums, weights, logits = jax.device_get(program(model, batch))
    assert sums.keys() == weights.keys() >= objective.losses.keys()
    counted = batch["masked_weights"][:-3]
    losses, right = losses_of(logits, batch["masked_ids"]), logits.argmax(-1) == batch["masked_ids"]
    np.testing.assert_allclose(sums["mlm_loss"], (losses[:-3] * counted).sum(), rtol=1e-5)
    np.testing.assert_allclose(sums["mlm_accuracy"], (right[:-3] * counted).sum(), rtol=1e-6)
    np.testing.assert_allclose(weights["mlm_loss"], counted.sum(), rtol=1e-6)


def test_pretraining_objective_names_the_sentence_task():
    assert set(pretraining_objective("nsp").losses) == {"mlm_loss", "nsp_loss"}
