"""KerasHub's backbones on Keras' JAX backend: stateless calls in a jitted step, as Keras documents it."""

# Its libraries are in their own environment.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Keras reads it at import.
os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import keras_hub
import numpy as np
from safetensors.numpy import load_file

from benchmarks.peers.workers import names
from benchmarks.peers.workers.jax_programs import Batch, Implementation, Training, build
from benchmarks.peers.workers.keras_names import hugging_face_name, to_keras, to_torch
from benchmarks.peers.workers.program import INPUTS, Case, Program, serve_programs

_ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "gelu": lambda x: keras.activations.gelu(x, approximate=False),
    "gelu_new": lambda x: keras.activations.gelu(x, approximate=True),
}
_NO_DECAY = ("bias", "gamma", "beta")
# Keras adds epsilon before the bias correction of the second moment: at the first step this equals the others' 1e-6.
_EPSILON = 1e-6 * (1 - 0.999) ** 0.5


class _Built:
    """A backbone with the weights of a case, and its masked-LM head."""

    def __init__(self, case: Case) -> None:
        folder = Path(case["model"])
        self.config = json.loads((folder / "config.json").read_text())
        self.family = self.config["model_type"]
        self.backbone = self._make_backbone()
        self.activation = _ACTIVATIONS[self.config.get("hidden_act", self.config.get("activation"))]
        for layer in _layers(self.backbone.transformer_layers):
            # All implementations have to compute the same function; KerasHub's BERT approximates GELU by tanh, and its
            # DistilBERT has a dropout site that the paper does not have.
            layer._feedforward_intermediate_dense.activation = self.activation
            if self.family == "distilbert":
                layer._self_attention_dropout.rate = 0.0
        self.tensors = load_file(folder / "model.safetensors")

    def _make_backbone(self) -> Any:
        config, is_distilbert = self.config, self.family == "distilbert"
        names = {
            "vocabulary_size": "vocab_size",
            "num_layers": "n_layers" if is_distilbert else "num_hidden_layers",
            "num_heads": "n_heads" if is_distilbert else "num_attention_heads",
            "hidden_dim": "dim" if is_distilbert else "hidden_size",
            "intermediate_dim": "hidden_dim" if is_distilbert else "intermediate_size",
            "dropout": "dropout" if is_distilbert else "hidden_dropout_prob",
            "max_sequence_length": "max_position_embeddings",
            **({"embedding_dim": "embedding_size"} if self.family == "albert" else {}),
        }
        models = keras_hub.models
        classes = {
            "albert": models.AlbertBackbone,
            "bert": models.BertBackbone,
            "distilbert": models.DistilBertBackbone,
        }
        return classes[self.family](**{name: config[key] for name, key in names.items()})

    def encoder(self) -> Any:
        """Returns the model of the last hidden states."""
        output = self.backbone.output
        return self._loaded(
            keras.Model(self.backbone.input, output if self.family == "distilbert" else output["sequence_output"])
        )

    def predictor(self) -> Any:
        """Returns the model of the logits at masked positions, without the pooler, which nothing trains."""
        positions = keras.Input((None,), dtype="int32", name="mask_positions")
        head = keras_hub.layers.MaskedLMHead(
            token_embedding=self.backbone.token_embedding,
            intermediate_activation=self.activation,
            layer_norm_epsilon=1e-12,
            name="mlm_head",
        )
        logits = head(self.encoder().output, positions)
        return self._loaded(keras.Model({**self.backbone.input, "mask_positions": positions}, logits))

    def _loaded(self, model: Any) -> Any:
        for variable in model.trainable_variables:
            tensor = self.tensors[hugging_face_name(variable.path, self.family)]
            variable.assign(to_keras(variable.path, tensor, variable.shape))
        return model

    def inputs(self, batch: Batch) -> dict[str, Any]:
        """Returns a batch under KerasHub's names."""
        given = {"token_ids": batch["input_ids"], "padding_mask": batch["attention_mask"]}
        return given if self.family == "distilbert" else {**given, "segment_ids": batch["token_type_ids"]}


def _layers(nested: Any) -> Iterator[Any]:
    for one in nested:
        if isinstance(one, list):
            yield from _layers(one)
        else:
            yield one


def _values(variables: Any) -> list[Any]:
    return [jax.numpy.array(variable.value) for variable in variables]


def _encoder(case: Case) -> tuple[Any, Any]:
    built = _Built(case)
    model = built.encoder()

    def hidden(state: Any, *arrays: jax.Array) -> jax.Array:
        batch: dict[str, jax.Array] = dict(zip(INPUTS, arrays, strict=True))
        return model.stateless_call(*state, built.inputs(batch), training=False)[0]

    return hidden, (_values(model.trainable_variables), _values(model.non_trainable_variables))


def _training(case: Case) -> Training:
    built = _Built(case)
    model = built.predictor()
    optimizer = keras.optimizers.AdamW(case["learning_rate"], weight_decay=0.01, epsilon=_EPSILON)
    optimizer.exclude_from_weight_decay(var_names=list(_NO_DECAY))
    optimizer.build(model.trainable_variables)

    def loss(trained: Any, others: Any, batch: Batch, training: bool) -> tuple[jax.Array, Any]:
        inputs = {**built.inputs(batch), "mask_positions": batch["masked_positions"]}
        logits, others = model.stateless_call(trained, others, inputs, training=training)
        losses = keras.ops.sparse_categorical_crossentropy(batch["masked_ids"], logits, from_logits=True)
        weights = batch["masked_weights"]
        return (losses * weights).sum() / weights.sum(), others

    def step(state: Any, batch: Batch, training: bool) -> tuple[Any, jax.Array]:
        trained, others, moments = state
        (value, others), gradients = jax.value_and_grad(loss, has_aux=True)(trained, others, batch, training)
        trained, moments = optimizer.stateless_apply(moments, gradients, trained)
        return (trained, others, moments), value

    def gradients_of(state: Any, batch: Batch) -> tuple[jax.Array, Any]:
        (value, _), gradients = jax.value_and_grad(loss, has_aux=True)(*state[:2], batch, False)
        return value, gradients

    def named(gradients: list[Any]) -> dict[str, np.ndarray]:
        found = {}
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            found[hugging_face_name(variable.path, built.family)] = to_torch(variable.path, np.asarray(gradient))
        return names.without_aliases(found)

    return Training(
        initial=lambda: tuple(
            _values(one) for one in (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
        ),
        step=lambda state, batch: step(state, batch, True),
        checked_step=lambda state, batch: step(state, batch, False),
        gradients=gradients_of,
        named=named,
    )


def _lacks(case: Case) -> tuple[str, ...]:
    if case["kind"] in ("forward", "sts"):
        return ()
    return (
        "head and loss at the masked positions alone",
        "the epsilon of its AdamW is scaled to mean the others' 1e-6",
    )


def _build(case: Case) -> Program:
    settings = (
        f"keras-hub {keras_hub.__version__}, keras {keras.__version__}, jax {jax.__version__}, stateless calls in one "
        "jitted function, layers unrolled, no pooler; exact GELU and no dropout sites but the paper's, set from outside"
    )
    return build(Implementation(_encoder, _training, settings, _lacks(case)), case)


if __name__ == "__main__":
    serve_programs(_build)
