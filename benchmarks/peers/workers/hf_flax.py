"""Hugging Face's Flax classes (transformers 4.57), jitted whole, with optax."""

# Its libraries are in their own environment.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

import json
import re
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import transformers
from flax import traverse_util
from transformers.models.albert import modeling_flax_albert

from benchmarks.peers.workers import names
from benchmarks.peers.workers.jax_programs import Batch, Implementation, Training, build
from benchmarks.peers.workers.program import INPUTS, Case, Program, serve_programs

_NO_DECAY = re.compile(r"LayerNorm|layer_norm|bias")
_PREFIXES = {"albert": "FlaxAlbert", "bert": "FlaxBert", "distilbert": "FlaxDistilBert"}


class _CheckpointedLayer(modeling_flax_albert.FlaxAlbertLayerCollections):
    """ALBERT's layer in jax.checkpoint, for which the class has no option.

    XLA:CPU keeps the temporaries of unrolled layers, as these are: the program recomputes each layer, which takes time,
    and needs 714.86 MiB for 12 layers with and without it (jax 0.10.2).
    """

    def __call__(self, hidden_states: Any, attention_mask: Any, *args: Any, **options: Any) -> Any:
        def layer(module: Any, hidden: Any, mask: Any) -> Any:
            return module(hidden, mask, *args, **options)

        return nn.remat(layer)(self.albert_layers, hidden_states, attention_mask)


def _model(case: Case, ending: str, **options: Any) -> tuple[Any, Any]:
    if case["options"].get("checkpoint"):
        modeling_flax_albert.FlaxAlbertLayerCollections = _CheckpointedLayer
    model_class = getattr(transformers, _PREFIXES[_family(case)] + ending)
    return model_class.from_pretrained(case["model"], _do_init=False, **options)


def _family(case: Case) -> str:
    return json.loads((Path(case["model"]) / "config.json").read_text())["model_type"]


def _inputs(case: Case) -> tuple[str, ...]:
    return INPUTS[:2] if _family(case) == "distilbert" else INPUTS


def _encoder(case: Case) -> tuple[Any, Any]:
    wanted = _inputs(case)
    model, params = _model(case, "Model", **({} if _family(case) == "distilbert" else {"add_pooling_layer": False}))

    def hidden(params: Any, *arrays: jax.Array) -> jax.Array:
        given: dict[str, jax.Array] = dict(zip(INPUTS, arrays, strict=True))
        return model(**{name: given[name] for name in wanted}, params=params).last_hidden_state

    return hidden, params


def _training(case: Case) -> Training:
    model, params = _model(case, "ForMaskedLM")
    wanted, optimizer = _inputs(case), _optimizer(case)

    def loss(params: Any, batch: Batch, key: jax.Array | None) -> jax.Array:
        inputs = {name: batch[name] for name in wanted}
        dropout = {} if key is None else {"dropout_rng": key, "train": True}
        logits = model(**inputs, params=params, **dropout).logits
        labels = jnp.asarray(batch["labels"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
        weights = labels >= 0
        return jnp.sum(losses * weights) / jnp.sum(weights)

    def step(state: Any, batch: Batch, dropout: bool) -> tuple[Any, jax.Array]:
        params, moments, key = state
        key, dropout_key = jax.random.split(key)
        value, gradients = jax.value_and_grad(loss)(params, batch, dropout_key if dropout else None)
        updates, moments = optimizer.update(gradients, moments, params)
        return (optax.apply_updates(params, updates), moments, key), value

    def initial() -> Any:
        fresh = jax.tree.map(jnp.array, params)
        return fresh, optimizer.init(fresh), jax.random.PRNGKey(0)

    return Training(
        initial=initial,
        step=lambda state, batch: step(state, batch, True),
        checked_step=lambda state, batch: step(state, batch, False),
        gradients=lambda state, batch: jax.value_and_grad(loss)(state[0], batch, None),
        named=lambda tree: names.from_flax(dict(traverse_util.flatten_dict(tree))),
    )


def _optimizer(case: Case) -> optax.GradientTransformation:
    def decays(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda keys, _: _NO_DECAY.search(jax.tree_util.keystr(keys)) is None, params
        )

    return optax.adamw(case["learning_rate"], eps=1e-6, weight_decay=0.01, mask=decays)


def _lacks(case: Case) -> tuple[str, ...]:
    if case["kind"] in ("forward", "sts"):
        return ()
    lacks = ["head and loss at every position (its classes take no positions), integer labels rather than one-hot rows"]
    if _family(case) != "distilbert":
        lacks.append("one dropout mask of attention probabilities for all rows and heads")
    return tuple(lacks)


def _build(case: Case) -> Program:
    checkpoint = ", each layer in jax.checkpoint" if case["options"].get("checkpoint") else ""
    settings = f"transformers {transformers.__version__}, jax {jax.__version__}, layers unrolled{checkpoint}"
    return build(Implementation(_encoder, _training, settings, _lacks(case)), case)


if __name__ == "__main__":
    serve_programs(_build)
