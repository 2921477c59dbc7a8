"""flax_lite's models and training step."""

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import load_file

import flax_lite as fl
from benchmarks.peers.workers import names
from benchmarks.peers.workers.jax_programs import Batch, Implementation, Training, build
from benchmarks.peers.workers.program import Case, Program, serve_programs
from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.layers.unstacked import for_inference
from flax_lite.models.params import get_params, with_params
from flax_lite.training.objective import averages, masked_lm_objective
from flax_lite.training.optim import make_optimizer
from flax_lite.training.steps import init_state, make_train_step

_INFERENCE = ("forward", "sts")


def _execution(case: Case) -> fl.Execution:
    return fl.Execution(unroll="auto", remat="full" if case["kind"].startswith("memory") else "none")


def _encoder(case: Case) -> tuple[Any, Any]:
    model = fl.Encoder.from_pretrained(case["model"], execution=_execution(case), allow_missing=("pooler/*",))
    model = for_inference(model)
    structure = nnx.graphdef(model)

    def hidden(params: Any, *inputs: jax.Array) -> jax.Array:
        return with_params(structure, params)(*inputs).last_hidden_state

    return hidden, get_params(model)


def _training(case: Case) -> Training:
    model = fl.MaskedLM.from_pretrained(case["model"], execution=_execution(case))
    objective, optimizer = masked_lm_objective(), _optimizer(case)

    @functools.cache
    def without_dropout() -> Any:
        return _structure(model.config.replace(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), case)

    def loss(params: Any, batch: Batch) -> jax.Array:
        sums = objective.sums(with_params(without_dropout(), params), batch, None)
        return averages(sums, objective.weights(batch), objective.losses)["loss"]

    def step(structure: Any, state: Any, batch: Batch) -> tuple[Any, jax.Array]:
        state, metrics = make_train_step(structure, objective, optimizer, seed=0)(state, batch)
        return state, metrics["loss"]

    return Training(
        # Copies: the step donates its state, and the model is needed for the next first state.
        initial=lambda: jax.tree.map(jax.numpy.copy, init_state(model, optimizer)),
        step=functools.partial(step, nnx.graphdef(model)),
        checked_step=lambda state, batch: step(without_dropout(), state, batch),
        gradients=lambda state, batch: jax.value_and_grad(loss)(state["params"], batch),
        named=lambda tree: _named(with_params(nnx.graphdef(model), tree)),
    )


def _optimizer(case: Case) -> Any:
    return make_optimizer("adamw", case["learning_rate"], total_steps=10**6, schedule="constant", clip_norm=None)


def _structure(config: Any, case: Case) -> Any:
    return nnx.graphdef(nnx.eval_shape(lambda: fl.MaskedLM(config, rngs=nnx.Rngs(0), execution=_execution(case))))


def _named(model: fl.MaskedLM) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder) / "gradients")
        return names.without_aliases(load_file(Path(folder) / "gradients" / "model.safetensors"))


def _settings(case: Case) -> str:
    config = open_source(case["model"]).config
    chosen = dataclasses.asdict(_execution(case).resolve(len(config.layer_sequence())))
    resolved = ", ".join(f"{name} {chosen[name]}" for name in ("dtype", "unroll", "remat", "attention"))
    separate = config.num_physical_layers > 1 and case["kind"] in _INFERENCE
    form = ", in the form of `for_inference`, as pipelines" if separate else ""
    return f"jax {jax.__version__}; the default policy of this device, execution.unroll=auto: {resolved}{form}"


def _build(case: Case) -> Program:
    lacks = () if case["kind"] in _INFERENCE else ("head and loss at the masked positions alone",)
    return build(Implementation(_encoder, _training, _settings(case), lacks), case)


if __name__ == "__main__":
    serve_programs(_build)
