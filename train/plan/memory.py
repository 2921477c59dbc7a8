"""Estimates the activations that a step keeps for its backward pass, from shapes."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flax_lite.layers.dropout import draw_layer_masks
from flax_lite.layers.transformer import TransformerLayer
from flax_lite.models.encoder import Encoder
from flax_lite.models.flops import Costs, rows_and_length
from flax_lite.models.params import abstract_params, with_params

_FLOAT32 = 4
# Logits of the masked positions, their softmax, and its gradient.
_LOGIT_ARRAYS = 3
# Fraction of one layer's intermediates that is alive at once. Fitted: with 0.59 to 0.73, the temporaries of seven
# compiled steps (three jobs, three meshes, every remat, micro-batches) are within a fifth of the estimate.
_ALIVE = 0.7


def activation_bytes(costs: Costs, batch: Mapping[str, Any]) -> float:
    """Returns the bytes, over all devices, of the activations that the backward pass of a global batch reads.

    These are the residuals of the encoder's forward pass, most of one layer's intermediates (which may be recomputed),
    and the logits. Compiled for CPUs, the temporaries of a step were 0.82 to 1.16 times this plus gradients and
    gathered parameters (tests/train/plan/estimate_test.py).
    """
    rows, length = rows_and_length(batch)
    kept = _encoder_bytes(costs, length) + _ALIVE * _layer_bytes(costs, length)
    return rows * (kept + _LOGIT_ARRAYS * costs.predictions * costs.config.vocab_size * _FLOAT32)


def _encoder_bytes(costs: Costs, length: int) -> float:
    """Returns the bytes per row of the residuals of the encoder's forward pass."""
    create = functools.partial(Encoder, costs.config, execution=costs.execution, add_pooler=False)

    def states(model: Any, ids: jax.Array) -> jax.Array:
        return model(ids, attention_mask=ids, key=jax.random.key(0)).last_hidden_state

    return _residual_bytes(create, states, lambda rows: jax.ShapeDtypeStruct((rows, length), jnp.int32))


def _layer_bytes(costs: Costs, length: int) -> float:
    """Returns the bytes per row of the residuals of one layer without rematerialization inside it."""
    width, dtype = costs.config.hidden_size, costs.execution.compute_dtype
    create = functools.partial(TransformerLayer, costs.config, dataclasses.replace(costs.execution, remat="full"))

    def output(layer: Any, x: jax.Array) -> jax.Array:
        mask = jnp.ones((x.shape[0], 1, 1, length), bool)
        masks = draw_layer_masks(costs.config, x.shape[0], length, jax.random.key(0))
        return layer(x, mask, dropout_masks=masks)[0]

    return _residual_bytes(create, output, lambda rows: jax.ShapeDtypeStruct((rows, length, width), dtype))


def _residual_bytes(
    create: Callable[..., nnx.Module],
    function: Callable[[Any, jax.Array], jax.Array],
    inputs: Callable[[int], jax.ShapeDtypeStruct],
) -> int:
    """Returns the bytes per row of the residuals of a module's forward pass.

    It is the difference between three rows and two, so that parameters among the residuals do not count.
    """
    structure = nnx.graphdef(nnx.eval_shape(lambda: create(rngs=nnx.Rngs(0))))
    params = abstract_params(lambda: create(rngs=nnx.Rngs(0)))

    def derivative(params: Any, x: jax.Array) -> Any:
        def output(params: Any) -> jax.Array:
            module: Any = with_params(structure, params)
            return function(module, x)

        return jax.vjp(output, params)[1]

    def size(rows: int) -> int:
        arrays = jax.tree.leaves(jax.eval_shape(derivative, params, inputs(rows)))
        return sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)

    return size(3) - size(2)
