"""Tiny random models of transformers 4.57's Flax classes, the numerical reference, with a common interface.

Reference and library are functions (parameters, inputs) -> dictionary of arrays with the library's names and shapes, so
that one test serves every family, head and switch. Parameters are drawn by NumPy: Hugging Face's initialization, which
runs operation by operation, takes longer than the comparison.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

from flax_lite.architecture.config import EncoderConfig
from flax_lite.models.params import get_params, with_params
from tests.flax_lite import tiny

ENDINGS = {name: "Model" if name == "Encoder" else f"For{name}" for name in tiny.MODELS}
PREFIXES = {"albert": "Albert", "bert": "Bert", "distilbert": "DistilBert"}

Params = dict[str, Any]
Outputs = dict[str, jax.Array]


def transformers() -> Any:
    """Returns the package, or skips the test if it has no Flax classes."""
    module = pytest.importorskip("transformers")
    if int(module.__version__.partition(".")[0]) >= 5:
        pytest.skip("transformers 5 has no Flax classes; the reference is 4.57")
    return module


@dataclasses.dataclass(frozen=True)
class Reference:
    """A Hugging Face Flax model without parameters, with the library's names of inputs and outputs."""

    head: str
    config: EncoderConfig

    @property
    def model_class(self) -> Any:
        """The model class in transformers."""
        return getattr(transformers(), f"Flax{PREFIXES[self.config.model_type]}{ENDINGS[self.head]}")

    @functools.cached_property
    def model(self) -> Any:
        """The model with shapes only."""
        config_class = self.model_class.config_class
        return self.model_class(config_class.from_dict(self.config.to_json_dict()), _do_init=False)

    def draw(self, seed: int = 0, deviation: float = 0.2) -> Params:
        """Draws random parameters, all different from their initial values; see `tiny.make`."""
        random = np.random.default_rng(seed)
        shapes = traverse_util.flatten_dict(dict(self.model.params_shape_tree))

        def leaf(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
            vector = path[-1] in ("bias", "scale")
            mean = 1.0 if path[-1] == "scale" else 0.0
            return random.normal(mean, 0.1 if vector else deviation, shape).astype(np.float32)

        return traverse_util.unflatten_dict({path: leaf(path, spec.shape) for path, spec in shapes.items()})

    def load(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
        """Loads parameters from a directory; any report of missing or unexpected ones is a failure."""
        model_class = self.model_class
        utils = importlib.import_module("transformers.modeling_flax_utils")
        reports: list[str] = []
        monkeypatch.setattr(utils.logger, "warning", lambda message, *_: reports.append(message))
        _, params = model_class.from_pretrained(directory, _do_init=False)
        if reports:
            raise AssertionError(reports)
        # As NumPy arrays: arrays committed to a device would compile the function again.
        return jax.tree.map(np.asarray, params)

    def __call__(self, params: Params, inputs: Mapping[str, jax.Array]) -> Outputs:
        """Runs the model and returns outputs under the library's names."""
        inputs = dict(inputs)
        if self.config.model_type == "distilbert":
            inputs.pop("token_type_ids", None)
        outputs = self.model(**inputs, params=params, output_hidden_states=True, output_attentions=True)
        return named_outputs(dict(outputs.items()))


def as_function(model: Any) -> tuple[Callable[[Params, Mapping[str, jax.Array]], Outputs], Params]:
    """Returns a model of the library as a function of (parameters, inputs), and its parameters."""
    structure = nnx.graphdef(model)

    def function(params: Params, inputs: Mapping[str, jax.Array]) -> Outputs:
        outputs = with_params(structure, params)(**inputs, output_hidden_states=True, output_attentions=True)
        return named_outputs(vars(outputs))

    return function, get_params(model)


def named_outputs(outputs: Mapping[str, Any]) -> Outputs:
    """Returns outputs under the library's names, tuples over layers stacked, without those that only one side has."""
    names = {"sop_logits": "sentence_logits", "seq_relationship_logits": "sentence_logits"}
    return {
        names.get(name, name): jnp.stack(value) if isinstance(value, tuple) else value
        for name, value in outputs.items()
        if value is not None and name not in ("captured", "embedding_output")
    }


def inputs_for(head: str, config: EncoderConfig, seed: int = 0, **sizes: Any) -> dict[str, jax.Array]:
    """Returns ids with two segments and, in all rows but the first, padding at the end."""
    ids = tiny.inputs_of(head, config, seed=seed, **sizes)
    length = ids.shape[-1]
    rows = np.arange(ids.size // length).reshape(*ids.shape[:-1], 1)
    real = np.arange(length) < length - rows % 4
    segments = np.broadcast_to(np.arange(length) >= length // 2, ids.shape)
    return {
        "input_ids": jnp.where(real, ids, config.pad_token_id),
        "attention_mask": jnp.asarray(real, jnp.int32),
        "token_type_ids": jnp.asarray(segments & real, jnp.int32),
    }


class Measured:
    """A function of (parameters, inputs), compiled once for its outputs and the gradient of a weighted sum of them."""

    def __init__(self, function: Callable[[Params, Mapping[str, jax.Array]], Outputs], *, gradients: bool = True):
        def loss(params: Params, inputs: Mapping[str, jax.Array]) -> tuple[jax.Array, Outputs]:
            outputs = function(params, inputs)
            heads = {name: value for name, value in outputs.items() if name not in ("hidden_states", "attentions")}
            return tiny.scalar(heads), outputs

        self._gradients = gradients
        self._compiled = jax.jit(jax.value_and_grad(loss, has_aux=True) if gradients else loss)

    def __call__(self, params: Params, inputs: Mapping[str, jax.Array]) -> tuple[Outputs, Params]:
        """Returns outputs and gradients; an empty dictionary of gradients if they are off."""
        if not self._gradients:
            return self._compiled(params, inputs)[1], {}
        (_, outputs), gradients = self._compiled(params, inputs)
        return outputs, gradients
