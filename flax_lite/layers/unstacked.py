"""Layers with arrays of their own, for inference: where a stack is not sliced, no weight is copied."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from flax_lite.layers.execution import FULL_UNROLL_LAYERS

ModelT = TypeVar("ModelT", bound=nnx.Module)


def unstacked(model: ModelT) -> ModelT:
    """The same function by layers that lie apart, in `layers` as a list; the model itself where nothing is stacked.

    A loop over stacked parameters, and an unrolled one too, copies each layer's weights out of the stack at every call.
    Of a single row that is a third of the time (BERT-base, 32 tokens, two CPU cores: 34 ms scanned, 23 unstacked). For
    a large batch it matters little (8 x 128: 484 and 461 ms), and the program grows with the depth.

    Layers are copied once; everything else is shared with the model. It is computed layer by layer, whatever
    `execution.unroll` says. Training and checkpoints keep the stack: `save_pretrained` writes either form alike.
    """
    encoder = _encoder(model)
    if not hasattr(encoder, "layers") or isinstance(encoder.layers, nnx.List):
        return model
    structure, params = nnx.split(encoder.layers)
    number = encoder.config.num_physical_layers
    layers = [nnx.merge(structure, jax.tree.map(lambda leaf, row=row: leaf[row], params)) for row in range(number)]
    return _with_layers(model, nnx.List(layers))


def stacked(model: ModelT) -> ModelT:
    """The inverse of `unstacked`; the model itself where nothing lies apart."""
    layers = getattr(_encoder(model), "layers", None)
    if not isinstance(layers, nnx.List):
        return model
    parts = [nnx.split(layer) for layer in layers]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params for _, params in parts))
    return _with_layers(model, nnx.merge(parts[0][0], params))


def for_inference(model: ModelT) -> ModelT:
    """The form that answers soonest on JAX's default device: unstacked on CPU up to 12 layers, else as it is.

    Elsewhere it has not been measured.
    """
    depth = len(_encoder(model).config.layer_sequence())
    on_cpu = jax.default_backend() == "cpu"
    return unstacked(model) if on_cpu and depth <= FULL_UNROLL_LAYERS else model


def _encoder(model: Any) -> Any:
    return getattr(model, "encoder", model)


def _with_layers(model: ModelT, layers: Any) -> ModelT:
    copy = nnx.merge(*nnx.split(model))
    _encoder(copy).layers = layers
    return copy
