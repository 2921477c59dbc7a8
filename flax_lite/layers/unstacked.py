"""The form of a model for low-latency inference: its layers in a list instead of stacked on a leading axis."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from flax_lite.layers.execution import FULL_UNROLL_LAYERS

ModelT = TypeVar("ModelT", bound=nnx.Module)


def unstacked(model: ModelT) -> ModelT:
    """Returns the model with its layers in a list; the model itself if no layers are stacked.

    Gains: a third of the latency of a short row on CPU, because a scan over stacked parameters copies each layer's
    weights out of the stack at every call (docs/performance.md). The program grows with the depth.

    Layers are copied once; all other parameters are shared with the model. Layers are applied one by one, whatever
    `execution.unroll` is. Training and checkpoints keep the stack: `save_pretrained` writes both forms alike.
    """
    encoder = _encoder(model)
    if not hasattr(encoder, "layers") or isinstance(encoder.layers, nnx.List):
        return model
    structure, params = nnx.split(encoder.layers)
    number = encoder.config.num_physical_layers
    layers = [nnx.merge(structure, jax.tree.map(lambda leaf, row=row: leaf[row], params)) for row in range(number)]
    return _with_layers(model, nnx.List(layers))


def stacked(model: ModelT) -> ModelT:
    """The inverse of `unstacked`; the model itself if its layers are in no list."""
    layers = getattr(_encoder(model), "layers", None)
    if not isinstance(layers, nnx.List):
        return model
    parts = [nnx.split(layer) for layer in layers]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params for _, params in parts))
    return _with_layers(model, nnx.merge(parts[0][0], params))


def for_inference(model: ModelT) -> ModelT:
    """Returns the form with the lowest latency on JAX's default device: unstacked on CPU up to 12 layers.

    The model is returned unchanged on other devices, for which the two forms have not been compared.
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
