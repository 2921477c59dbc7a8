"""The pure steps: what a step computes does not depend on how its batch is split, padded or sharded."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from flax_lite import heads, training
from flax_lite.albert import AlbertConfig
from flax_lite.bert import BertConfig
from flax_lite.token_masks import mask_tokens
from tests.flax_lite import tiny
from tests.flax_lite.jaxprs import largest_intermediates

SIZES = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
ALBERT = AlbertConfig(**SIZES, embedding_size=16, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
ROWS, LENGTH, PREDICTIONS = 16, 24, 4
TOKENS = ("input_ids", "attention_mask", "token_type_ids")


def make_batch(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(12, LENGTH + 1, rows)
    mask = np.arange(LENGTH)[None, :] < lengths[:, None]
    positions = np.sort(rng.permuted(np.tile(np.arange(12), (rows, 1)), axis=1)[:, :PREDICTIONS], axis=1)
    return {
        "input_ids": rng.integers(0, 61, (rows, LENGTH)).astype(np.int32) * mask,
        "attention_mask": mask.astype(np.int32),
        "token_type_ids": ((np.arange(LENGTH) > 8)[None, :] & mask).astype(np.int32),
        "masked_positions": positions.astype(np.int32),
        "masked_ids": rng.integers(0, 61, (rows, PREDICTIONS)).astype(np.int32),
        "masked_weights": (rng.random((rows, PREDICTIONS)) < 0.8).astype(np.float32),
        "sentence_label": rng.integers(0, 2, rows).astype(np.int32),
        "row_weights": np.ones(rows, np.float32),
    }


def without_dropout(config):
    return config.replace(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def keep_gradient():
    """An optimizer that leaves the parameters alone and keeps the gradient it was given as its state."""
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    return optax.GradientTransformation(zeros, lambda gradient, state, params=None: (zeros(gradient), gradient))


@functools.cache
def setup(config, accumulation_steps=1, prepare=None):
    model = heads.PreTraining(config, rngs=nnx.Rngs(0))
    optimizer = keep_gradient()
    objective = training.pretraining_objective()
    step = training.make_train_step(
        nnx.graphdef(model), objective, optimizer, seed=3, accumulation_steps=accumulation_steps, prepare=prepare
    )
    evaluate = training.make_eval_step(nnx.graphdef(model), objective)
    return training.init_state(model, optimizer), tiny.jit(step), tiny.jit(evaluate)


def assert_same_gradient(got, expected):
    """1e-5 of the leaf's largest, the bar between layouts. A leaf that should be zero, as the key bias (softmax does
    not see a shift common to all keys), holds rounding noise: it is measured against the largest gradient."""
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
        other = functools.reduce(lambda tree, entry: tree[entry.key], path, got)
        scale = max(float(jnp.abs(leaf).max()), 1e-2 * largest)
        assert float(jnp.abs(leaf - other).max()) <= 1e-5 * scale, jax.tree_util.keystr(path)


def test_train_step_metrics_are_averages_over_weights():
    state, step, _ = setup(without_dropout(ALBERT))
    batch = make_batch()
    _, metrics = step(state, batch)
    model = heads.PreTraining(without_dropout(ALBERT), rngs=nnx.Rngs(0))
    output = model(*(jnp.asarray(batch[name]) for name in TOKENS))
    logits = jnp.take_along_axis(output.prediction_logits, batch["masked_positions"][:, :, None], axis=1)
    weights = batch["masked_weights"]
    words = optax.softmax_cross_entropy_with_integer_labels(logits, batch["masked_ids"])
    order = optax.softmax_cross_entropy_with_integer_labels(output.sop_logits, batch["sentence_label"])
    np.testing.assert_allclose(metrics["mlm_loss"], (words * weights).sum() / weights.sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["sop_loss"], order.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], metrics["mlm_loss"] + metrics["sop_loss"], rtol=1e-6)
    right = (output.sop_logits.argmax(-1) == batch["sentence_label"]).mean()
    np.testing.assert_allclose(metrics["sop_accuracy"], right, rtol=1e-6)


def test_train_step_accumulation_leaves_the_gradient_alone():
    """Micro-batches hold different numbers of masked words: a mean of means would differ, a sum over weights not."""
    config = without_dropout(ALBERT)
    state, whole, _ = setup(config)
    _, split, _ = setup(config, accumulation_steps=4)
    batch = make_batch()
    next_whole, metrics_whole = whole(state, batch)
    next_split, metrics_split = split(state, batch)
    assert_same_gradient(next_split["opt_state"], next_whole["opt_state"])
    for name in metrics_whole:
        np.testing.assert_allclose(metrics_split[name], metrics_whole[name], rtol=1e-5)


def test_train_step_refuses_rows_that_cannot_be_split():
    _, split, _ = setup(without_dropout(ALBERT), accumulation_steps=4)
    state, _, _ = setup(without_dropout(ALBERT))
    with pytest.raises(ValueError, match="10 rows cannot be split into 4"):
        split(state, make_batch(rows=10))


def test_train_step_draws_dropout_from_the_step_alone():
    """The same state and batch give the same loss, another step another: nothing random is stored anywhere."""
    state, step, _ = setup(ALBERT)
    batch = make_batch()
    losses = [float(step({**state, "step": jnp.int32(number)}, batch)[1]["loss"]) for number in (5, 6, 5)]
    assert losses[0] == losses[2]
    assert losses[0] != losses[1]


def test_train_step_with_dropout_agrees_on_eight_devices():
    """Bits of a threefry key do not depend on the sharding, so the draw over the global batch is the same."""
    assert jax.device_count() == 8
    state, step, _ = setup(ALBERT)
    batch = make_batch()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    one, metrics_one = step(state, batch)
    eight, metrics_eight = step(jax.device_put(state, everywhere), jax.device_put(batch, rows))
    assert_same_gradient(jax.device_get(eight["opt_state"]), one["opt_state"])
    np.testing.assert_allclose(metrics_eight["loss"], metrics_one["loss"], rtol=1e-5)


def hide_tokens(key, batch):
    """DistilBERT's masks, with weights that leave out id 0, the padding."""
    weights = jnp.arange(61, dtype=jnp.float32)
    inputs = jnp.asarray(batch["input_ids"]), jnp.asarray(batch["attention_mask"])
    return {**batch, **mask_tokens(key, *inputs, weights, max_predictions=12, mask_id=4)}


def unmasked(batch):
    return {name: array for name, array in batch.items() if not name.startswith("masked_")}


def test_train_step_prepares_the_whole_batch_once():
    """Masks share one number among all rows. Drawn for each micro-batch alone they would be others, and the loss too.

    One micro-batch also holds more of them than the other, so that the weights have to be those of all.
    """
    config = without_dropout(ALBERT)
    state, whole, _ = setup(config, prepare=hide_tokens)
    _, split, _ = setup(config, accumulation_steps=2, prepare=hide_tokens)
    batch = unmasked(make_batch())
    next_whole, metrics_whole = whole(state, batch)
    next_split, metrics_split = split(state, batch)
    assert_same_gradient(next_split["opt_state"], next_whole["opt_state"])
    for name in metrics_whole:
        np.testing.assert_allclose(metrics_split[name], metrics_whole[name], rtol=1e-5)


def test_train_step_prepares_as_on_one_device_on_eight():
    state, step, _ = setup(without_dropout(ALBERT), prepare=hide_tokens)
    batch = unmasked(make_batch())
    mesh = tiny.mesh(4, 2)
    rows, everywhere = NamedSharding(mesh, PartitionSpec(mesh.axis_names)), NamedSharding(mesh, PartitionSpec())
    one, metrics_one = step(state, batch)
    eight, metrics_eight = step(jax.device_put(state, everywhere), jax.device_put(batch, rows))
    assert_same_gradient(jax.device_get(eight["opt_state"]), one["opt_state"])
    np.testing.assert_allclose(metrics_eight["loss"], metrics_one["loss"], rtol=1e-5)


def test_train_step_prepares_anew_in_every_step():
    """The masks follow from the step number, and so does the loss; the same number repeats them."""
    state, step, _ = setup(without_dropout(ALBERT), prepare=hide_tokens)
    batch = unmasked(make_batch())
    losses = [float(step({**state, "step": jnp.int32(number)}, batch)[1]["loss"]) for number in (5, 6, 5)]
    assert losses[0] == losses[2]
    assert losses[0] != losses[1]


def drawing_step(accumulation_steps, prepare):
    """Step 7 of seed 3, whose loss is a number drawn from the key that the objective is given, and nothing else."""
    model = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    objective = training.Objective(
        ("drawn",),
        lambda model, batch, key: {"drawn": jax.random.uniform(key)},
        lambda batch: {"drawn": jnp.ones(())},
        {"drawn": 1.0},
    )
    step = training.make_train_step(
        nnx.graphdef(model), objective, optax.sgd(0.0), seed=3, accumulation_steps=accumulation_steps, prepare=prepare
    )
    state = training.init_state(model, optax.sgd(0.0)) | {"step": jnp.int32(7)}
    return step(state, jax.tree.map(jnp.asarray, make_batch()))[1]["loss"]


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_train_step_prepares_beside_the_dropout(accumulation_steps):
    """The objective's keys are the step's, or its split, to the bit, whether or not something is drawn before.

    The key of what is drawn before is none that the objective has or may split off: fold_in(key, i) is the i-th of any
    split of the key, so a small number would give one of the dropout's.
    """
    seen = []
    key = jax.random.fold_in(jax.random.key(3), 7)
    keys = [key] if accumulation_steps == 1 else jax.random.split(key, 2)
    expected = sum(jax.random.uniform(key) for key in keys)
    assert drawing_step(accumulation_steps, None) == expected
    assert drawing_step(accumulation_steps, lambda key, batch: seen.append(key) or batch) == expected
    split = jax.random.split(key, 1000)
    assert jax.random.fold_in(key, 5) == split[5]
    assert len(seen) == 1
    assert not (seen[0] == jnp.concatenate([split, key[None]])).any()


def test_eval_step_counts_padding_rows_nowhere():
    state, _, evaluate = setup(ALBERT)
    batch = make_batch()
    filled = {name: np.concatenate([array, array[:5]]) for name, array in batch.items()}
    filled["row_weights"][-5:] = 0.0
    expected, got = evaluate(state["params"], batch), evaluate(state["params"], filled)
    for kind in ("sums", "weights"):
        for name in expected[kind]:
            np.testing.assert_allclose(got[kind][name], expected[kind][name], rtol=1e-6)


def test_eval_step_adds_up_over_batches():
    state, _, evaluate = setup(ALBERT)
    batch = make_batch()
    halves = [{name: array[part] for name, array in batch.items()} for part in (slice(0, 8), slice(8, 16))]
    expected = evaluate(state["params"], batch)
    got = jax.tree.map(jnp.add, *(evaluate(state["params"], half) for half in halves))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, expected)


@pytest.mark.parametrize("prepare", [None, hide_tokens])
@pytest.mark.parametrize("accumulation_steps", [1, 2])
@pytest.mark.parametrize(
    "config", [ALBERT, BertConfig(**{**SIZES, "vocab_size": 997})], ids=lambda config: config.model_type
)
def test_train_step_holds_no_array_over_positions_and_vocabulary(config, accumulation_steps, prepare):
    config = config.replace(vocab_size=997)
    state, step, _ = setup(config, accumulation_steps, prepare)
    batch = make_batch()
    largest = largest_intermediates(jax.make_jaxpr(step.__wrapped__)(state, jax.tree.map(jnp.asarray, batch)))[0]
    assert largest.elements < (ROWS // accumulation_steps) * LENGTH * config.vocab_size, largest


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_masked_lm_objective_sums_over_masked_positions_of_weighted_rows(family):
    config = tiny.FAMILIES[family](num_hidden_layers=1)
    batch = make_batch() | {"input_ids": make_batch()["input_ids"] % 41, "masked_ids": make_batch()["masked_ids"] % 41}
    batch = {name: array[:, :16] if name in TOKENS else array for name, array in batch.items()}
    batch["row_weights"][-3:] = 0.0
    batch = jax.tree.map(jnp.asarray, batch)
    objective = training.masked_lm_objective()
    model = tiny.make("MaskedLM", config)
    sums, weights = objective.sums(model, batch, None), objective.weights(batch)
    assert sums.keys() == weights.keys() >= objective.losses.keys()
    logits = model(*(batch[name] for name in TOKENS), masked_positions=batch["masked_positions"]).logits
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["masked_ids"])
    counted = batch["masked_weights"][:-3]
    np.testing.assert_allclose(sums["mlm_loss"], (losses[:-3] * counted).sum(), rtol=1e-5)
    right = (logits.argmax(-1) == batch["masked_ids"])[:-3]
    np.testing.assert_allclose(sums["mlm_accuracy"], (right * counted).sum(), rtol=1e-6)
    np.testing.assert_allclose(weights["mlm_loss"], counted.sum(), rtol=1e-6)


def test_pretraining_objective_names_the_sentence_task():
    assert set(training.pretraining_objective("nsp").losses) == {"mlm_loss", "nsp_loss"}
