"""A toy job to test the loop without a model: linear regression with noise on its inputs.

python -m tests.train.toy --config FILE --workdir DIR
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train.options import cli, tables
from train.options.schema import REQUIRED, Option
from train.run import loop
from train.run.job import Job, add_up

WIDTH = 16
_COMMON = """
seed batch_size accumulation_steps total_steps log_every_steps eval_every_steps checkpoint_every_steps keep_checkpoints
keep_checkpoints_after keep_best plot tensorboard profile.first_step profile.num_steps compilation_cache mesh.data
mesh.fsdp execution.dtype hosts.heartbeat_seconds hosts.initialization_seconds execution.deterministic
optimizer.decay_from optimizer.bias_correction
"""
OPTIONS = (
    *(option for option in tables.COMMON_OPTIONS if option.path in _COMMON.split()),
    Option("optimizer.learning_rate", "fixed", float, REQUIRED, "step size", at_least=0),
    Option("optimizer.clip_norm", "fixed", float | None, None, "gradient norm limit"),
    Option("data.source", "fixed", str, "normal", "distribution of the inputs"),
    Option("data.bad_step", "free", int | None, None, "the step whose inputs are not finite"),
    Option("data.delay_seconds", "free", float, 0.0, "time that every batch takes"),
)
VALUES = {
    "seed": 0,
    "batch_size": 8,
    "total_steps": 20,
    "log_every_steps": 1,
    "eval_every_steps": 5,
    "checkpoint_every_steps": 4,
    "keep_checkpoints": 2,
    "keep_checkpoints_after": 2,
    "plot": False,
    "profile": {"num_steps": 2},
    "mesh": {"data": 1, "fsdp": 1},
    "hosts": {"heartbeat_seconds": 10, "initialization_seconds": 60},
    "execution": {"dtype": "float32"},
    "optimizer": {"learning_rate": 0.05, "clip_norm": None, "decay_from": "peak"},
}


def write_config(folder: Path, name: str = "toy") -> Path:
    """Writes the config file of the toy job."""
    path = folder / f"{name}.py"
    text = "from ml_collections import ConfigDict\n\n\ndef get_config(variant=''):\n    return ConfigDict({!r})\n"
    path.write_text(text.format(VALUES))
    return path


def hashed(seed: jax.Array, count: int) -> jax.Array:
    """Returns pseudorandom numbers in [-1, 1]; jax.random takes five times as long to compile."""
    return jnp.sin(12.9898 * jnp.arange(count) + 78.233 * jnp.float32(seed))


def init_state(key: jax.Array, optimizer: optax.GradientTransformation) -> dict:
    kernel = hashed(jax.random.key_data(key)[-1], WIDTH * WIDTH).reshape(WIDTH, WIDTH)
    params = {"dense": {"kernel": kernel, "bias": jnp.zeros((WIDTH,))}}
    return {"step": jnp.int32(0), "params": params, "opt_state": optimizer.init(params)}


def errors(params: dict, batch: dict) -> jax.Array:
    return (batch["x"] @ params["dense"]["kernel"] + params["dense"]["bias"] - batch["y"]) ** 2


def train_step(state: dict, batch: dict, *, seed: int, optimizer: optax.GradientTransformation) -> tuple[dict, dict]:
    keep = hashed(seed + 1000 * state["step"], batch["x"].size).reshape(batch["x"].shape) > -0.9
    noisy = {**batch, "x": batch["x"] * keep}
    loss, grads = jax.value_and_grad(lambda params: errors(params, noisy).mean())(state["params"])
    updates, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
    return {"step": state["step"] + 1, "params": params, "opt_state": opt_state}, metrics


def eval_step(params: dict, batch: dict) -> dict:
    return {"loss_sum": errors(params, batch).sum(), "count": jnp.float32(batch["y"].size)}


def _mean(sums: dict[str, float]) -> dict[str, float]:
    return {"loss": sums["loss_sum"] / sums["count"]}


def rows(seed: int, step: int, size: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng((seed, step))
    x = random.normal(size=(size, WIDTH)).astype(np.float32)
    return {"x": x, "y": np.flip(x, 1) + 0.1}


def part(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns this host's slice of a batch."""
    return {name: np.split(array, jax.process_count())[jax.process_index()] for name, array in batch.items()}


@functools.cache
def functions(seed: int, learning_rate: float) -> dict[str, Callable]:
    """Returns two of a job's functions, cached so that all jobs of a process share their compiled programs."""
    optimizer = optax.sgd(learning_rate, momentum=0.9)  # has a state; Adam takes twice as long to compile
    return {
        "init_state": functools.partial(init_state, optimizer=optimizer),
        "train_step": functools.partial(train_step, seed=seed, optimizer=optimizer),
    }


def build(work) -> Job:
    config = work.request.config

    def train_batches(start):
        for step in range(start + 1, config.total_steps + 1):
            time.sleep(config.data.delay_seconds)
            batch = part(rows(config.seed, step, config.batch_size))
            yield batch if step != config.data.bad_step else {**batch, "y": batch["y"] * np.float32(np.inf)}

    return Job(
        **functions(config.seed, config.optimizer.learning_rate),
        train_batches=train_batches,
        tokens_per_batch=config.batch_size,
        export=lambda params, folder, evaluation: np.savez(folder / "weights.npz", **params["dense"]),
        eval_step=eval_step,
        eval_batches=lambda: [part(rows(config.seed + 1, step, config.batch_size)) for step in range(2)],
        summarize=lambda results: _mean(add_up(results)),
        describe=("a linear map, 272 parameters",),
        fingerprints={"data": config.data.source},
        describe_extension=lambda old, new, step: f"the schedule is stretched from {old} to {new} at {step}",
        finish=lambda result: print("result", json.dumps({"step": result.step, **result.evaluation})),
    )


def main(argv: list[str] | None = None) -> int:
    return cli.main("toy", OPTIONS, functools.partial(loop.run, build=build), argv, help_config="", joins=True)


if __name__ == "__main__":
    sys.exit(main())
