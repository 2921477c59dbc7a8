"""What a step keeps between its forward and its backward pass, from shapes alone."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flax_lite.encoder import Encoder
from flax_lite.execution import Execution
from flax_lite.state import abstract_params, with_params
from train.costs import Costs, rows_and_length

_FLOAT32 = 4
# Of the logits of the masked positions: themselves, their softmax, and its gradient.
_LOGIT_ARRAYS = 3


def activation_bytes(costs: Costs, batch: Mapping[str, Any]) -> float:
    """Bytes, over all devices, of what the derivative of a global batch reads.

    What JAX passes from the forward to the backward pass of the encoder, one layer's worth on top where layers are
    computed again, and the logits. Compilers fuse, and need room to work: compiled for CPUs, the temporaries of a step
    were 0.92 to 1.13 times this, gradients and gathered parameters together (tests/train/plan/estimate_test.py).
    """
    rows, length = rows_and_length(batch)
    layers = len(costs.config.layer_sequence())
    kept = _residual_bytes(costs, costs.execution, length)
    if costs.execution.remat != "none":
        kept += _residual_bytes(costs, dataclasses.replace(costs.execution, remat="none"), length) / layers
    return rows * (kept + _LOGIT_ARRAYS * costs.predictions * costs.config.vocab_size * _FLOAT32)


def _residual_bytes(costs: Costs, execution: Execution, length: int) -> float:
    """Bytes for each row that the encoder's forward pass hands to its derivative.

    Twice as many rows keep as much more; parameters that a derivative reads are there once for all of them.
    """
    create = functools.partial(Encoder, costs.config, execution=execution, add_pooler=False)
    structure = nnx.graphdef(nnx.eval_shape(lambda: create(rngs=nnx.Rngs(0))))
    params = abstract_params(lambda: create(rngs=nnx.Rngs(0)))

    def derivative(params: Any, ids: jax.Array) -> Any:
        def states(params: Any) -> jax.Array:
            model: Any = with_params(structure, params)
            return model(ids, attention_mask=ids, key=jax.random.key(0)).last_hidden_state

        return jax.vjp(states, params)[1]

    def size(rows: int) -> int:
        ids = jax.ShapeDtypeStruct((rows, length), jnp.int32)
        leaves = jax.tree.leaves(jax.eval_shape(derivative, params, ids))
        return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)

    return size(3) - size(2)
