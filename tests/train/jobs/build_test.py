"""Objects built from options: random streams, optimizer and schedule."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_lite as fl
from flax_lite.checkpoints import open_source, pick_layers
from tests.flax_lite import tiny
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


# The options of the smoke config that init_from replaces.
_SIZES = ("preset", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "initializer_range")


def started_from(source, *more):
    return (f"init_from={source}", "tokenizer=none", *(f"model.{name}=none" for name in _SIZES), *more)


@pytest.mark.parametrize("more", [(), ("new_head=true",)])
def test_chosen_layers_to_start_from_are_those_of_pick_layers(tmp_path, teacher, classify, built, more):
    job = built(classify, tmp_path / "work", *started_from(teacher, "init_layers=0,3", *more))
    picked = fl.get_params(fl.Encoder.from_pretrained(pick_layers(open_source(teacher), (0, 3))))
    initial = job.initial_params()["encoder"]
    for part in ("embeddings", "layers"):  # the teacher has no pooler
        jax.tree.map(np.testing.assert_array_equal, initial[part], picked[part])
    assert job.model["num_hidden_layers"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("model.num_hidden_layers=2", "2 here\nTo start from some of its layers, name them: --config.init_layers=0,3"),
        ("model.num_hidden_layers=5", "Give its depth: --config.model.num_hidden_layers=4\n"),
        ("model.hidden_size=64", "hidden_size: 32 in init_from, 64 here\nGive the tokenizer and sizes of that model\n"),
        ("init_layers=0,3 model.num_hidden_layers=3", "Give its depth: --config.model.num_hidden_layers=2\n"),
        ("init_layers=0,4", "layers=(0, 4): expected one or more numbers from 0 to 3"),
        ("init_layers=0,3 init_from=none model.preset=distilbert-base-uncased tokenizer=train:wordpiece:600",
         "init_layers names layers of init_from: give --config.init_from=SOURCE too"),
    ],
)  # fmt: skip
def test_sizes_that_init_from_does_not_have_are_refused(tmp_path, teacher, classify, capsys, options, message):
    assert classify.main(tmp_path / "work", *started_from(teacher, *options.split())) == 2
    assert message in capsys.readouterr().err


def test_a_dry_run_refuses_sizes_that_init_from_does_not_have(tmp_path, teacher, classify):
    run = classify.run(tmp_path / "work", *started_from(teacher, "model.num_hidden_layers=2"), flags=("--dry_run",))
    assert run.returncode == 2
    assert "--config.init_layers=0,3" in run.stderr


def test_a_work_directory_to_start_from_is_opened_and_logged_once(tmp_path, finished_finetune, classify, built, caplog):
    work = finished_finetune.workdir
    best = json.loads((work / "summary.json").read_text())["model_step"]
    job = built(classify, tmp_path / "work", *started_from(work))
    model = fl.SequenceClassification.from_pretrained(work / "model")
    jax.tree.map(np.testing.assert_array_equal, job.initial_params(), fl.get_params(model))
    (line,) = (line for line in caplog.messages if "using step" in line)
    assert line.startswith(f"{work}: using step {best}, the best by accuracy")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"model.preset": "bert-base-uncased"}, "hidden 0.1 (model.preset=bert-base-uncased), attention 0 (model.att"),
        ({"init_from": "mine"}, "hidden 0.1 (init_from=mine), attention 0 (model.attention_probs_dropout_prob)"),
        ({}, "hidden 0.1 (the teacher's config, teacher=runs/bert), attention 0 (model.attention_probs_dropout_prob)"),
    ],
)
def test_the_origin_of_a_student_s_dropout_is_described(options, line):
    config = tiny.bert(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.0)
    values = {"model.preset": None, "init_from": None, "teacher": "runs/bert", "model.hidden_dropout_prob": None}
    values |= {"model.attention_probs_dropout_prob": 0.0, **options}
    assert build.describe_dropout(values, config).startswith(f"dropout of the student: {line}")
