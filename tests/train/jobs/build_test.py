"""Objects built from options: random streams, optimizer and schedule."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_lite as fl
from train.jobs import build
from train.run.workdir import STREAMS


def drawn(rngs, count=64):
    return {tuple(np.asarray(jax.random.key_data(rngs.params())).tolist()) for _ in range(count)}


def of_steps(seed, count=64):
    """Returns the keys of a run's first steps, as `flax_lite.training.steps` derives them."""
    keys = jax.vmap(lambda step: jax.random.fold_in(jax.random.key(seed), step))(np.arange(count))
    return set(map(tuple, np.asarray(jax.random.key_data(keys)).tolist()))


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_initial_values_and_dropout_share_no_key(seed):
    key = jax.random.key(seed)
    assert not drawn(build.initial_rngs(key, STREAMS)) & of_steps(seed)
    assert drawn(build.initial_rngs(key, 1)) == of_steps(seed)  # in runs of version 1


def test_seeds_draw_different_initial_values():
    keys = [drawn(build.initial_rngs(jax.random.key(seed), STREAMS)) for seed in range(4)]
    assert len(set().union(*keys)) == sum(map(len, keys))


OPTIONS = {
    "total_steps": 10,
    "optimizer.name": "adamw",
    "optimizer.learning_rate": 0.1,
    "optimizer.schedule": "linear",
    "optimizer.decay_from": None,
    "optimizer.warmup_steps": 4,
    "optimizer.weight_decay": 0.0,
    "optimizer.b1": 0.9,
    "optimizer.b2": 0.999,
    "optimizer.eps": 1e-6,
    "optimizer.bias_correction": None,
    "optimizer.clip_norm": None,
}
_CORRECTED, _UNCORRECTED = 1.0, 0.1 / np.sqrt(0.001)


@pytest.mark.parametrize(
    ("changes", "rate", "first_update"),
    [
        ({}, 0.06, _CORRECTED),
        ({"decay_from": "start"}, 0.06, _CORRECTED),
        ({"decay_from": "peak"}, 0.1, _CORRECTED),
        ({"decay_from": "peak", "schedule": "constant"}, 0.1, _CORRECTED),
        ({"bias_correction": True}, 0.06, _CORRECTED),
        ({"bias_correction": False}, 0.06, _UNCORRECTED),
        ({"name": "lamb"}, 0.06, _UNCORRECTED),
        ({"name": "lamb", "bias_correction": True}, 0.06, _CORRECTED),
    ],
)
def test_options_reach_optimizer_and_schedule(changes, rate, first_update):
    """The rate after the warm-up, and the first update in units of the learning rate."""
    values = OPTIONS | {f"optimizer.{name}": value for name, value in changes.items()}
    optimizer, rate_at = build.optimizer(values)
    np.testing.assert_allclose(rate_at(4), rate, rtol=1e-6)
    params = {"bias": jnp.ones(3)}  # LAMB does not adapt biases
    without_warmup, _ = build.optimizer(values | {"optimizer.warmup_steps": 0})
    updates, _ = without_warmup.update({"bias": jnp.full(3, 2.0)}, without_warmup.init(params), params)
    np.testing.assert_allclose(updates["bias"], -0.1 * first_update, rtol=1e-4)
    assert float(optimizer.update(params, optimizer.init(params), params)[0]["bias"][0]) == 0.0


def test_a_work_directory_to_start_from_is_opened_and_logged_once(tmp_path, finished_finetune, classify, built, caplog):
    work = finished_finetune.workdir
    best = json.loads((work / "summary.json").read_text())["model_step"]
    preset = ("model.preset=none", *(f"model.{name}=none" for name in ("num_hidden_layers", "initializer_range")))
    job = built(classify, tmp_path / "work", f"init_from={work}", "tokenizer=none", *preset)
    model = fl.SequenceClassification.from_pretrained(work / "model")
    jax.tree.map(np.testing.assert_array_equal, job.initial_params(), fl.get_params(model))
    (line,) = (line for line in caplog.messages if "using step" in line)
    assert line.startswith(f"{work}: using step {best}, the best by accuracy")
