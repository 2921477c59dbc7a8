"""The stack of layers: one scan over the depth, whichever way layers share their parameters."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.capture import CaptureSpec
from flax_lite.layers.dropout import draw_layer_masks
from flax_lite.layers.execution import Execution
from flax_lite.layers.kernels import map_layers
from flax_lite.layers.transformer import TransformerLayer

Outputs = dict[str, Array]
Carry = tuple[Array, Outputs]

REMAT_POLICIES: dict[str, Callable[..., bool] | None] = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": None,
}


def make_layers(config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> TransformerLayer:
    """Creates the physical layers as one module, with parameters stacked on a leading axis if there are several.

    The initial values of each layer are drawn from its own key.
    """
    if config.num_physical_layers == 1:
        return TransformerLayer(config, execution, rngs=rngs)
    create = functools.partial(TransformerLayer, config, execution)
    structure = nnx.graphdef(nnx.eval_shape(lambda: create(rngs=nnx.Rngs(0))))
    keys = jax.random.split(rngs.params(), config.num_physical_layers)
    return nnx.merge(structure, jax.vmap(lambda key: nnx.state(create(rngs=nnx.Rngs(key))))(keys))


def run_layers(
    layers: Any,
    config: EncoderConfig,
    execution: Execution,
    x: Float[Array, "B T D"],
    mask: Bool[Array, "B 1 #T T"] | None,
    *,
    key: jax.Array | None,
    capture: CaptureSpec,
) -> tuple[Float[Array, "B T D"], Mapping[str, Array]]:
    """Applies the layers in the order of `config.layer_sequence()`; `key=None` is deterministic.

    One scan body serves every depth: a single shared layer is closed over, layers 0..n-1 in order are scanned over, and
    any other sequence indexes the stack inside the body. Program size and compile time therefore do not grow with
    depth. Layers in a list (`flax_lite.layers.unstacked`) are applied in a Python loop instead.

    Returns:
        The last output, and the values that `capture` selects by name: "hidden_states" [layers, B, T, D], "attentions"
        [applications, B, N, T, T], and for each captured name a buffer with one row per chosen layer.
    """
    capture.check(config.num_hidden_layers)
    sequence = config.layer_sequence()
    capture_rows = jnp.asarray(capture.rows(config.num_hidden_layers, config.inner_group_num))
    draw = functools.partial(draw_layer_masks, config, *x.shape[:2])
    # Dropout masks of all layers or, if layers are rematerialized, the keys to draw them from again.
    randomness = None if key is None else jax.random.split(key, len(sequence))
    if randomness is not None and execution.remat == "none":
        randomness = map_layers(draw, randomness, unrolled=int(execution.unroll) >= len(sequence))

    def apply(layer: TransformerLayer, carry: Carry, row: Array, randomness: Any) -> tuple[Carry, Outputs]:
        x, buffers = carry
        dropout_masks = draw(randomness) if isinstance(randomness, jax.Array) else randomness
        x, intermediates = layer(x, mask, dropout_masks=dropout_masks, need_scores=capture.need_scores)
        intermediates = {**intermediates, "outputs": x}
        buffers = {name: buffer.at[row].set(intermediates[name], mode="drop") for name, buffer in buffers.items()}
        outputs = {"hidden_states": x} if capture.hidden_states else {}
        if capture.attentions:
            outputs["attentions"] = intermediates["probabilities"]
        return (x, buffers), outputs

    carry = (x, capture.buffers(config, x))
    run: Callable[..., Any] = _loop if isinstance(layers, nnx.List) else _scan
    (x, buffers), outputs = run(layers, sequence, execution, apply, carry, (capture_rows, randomness))
    if capture.hidden_states:
        outputs["hidden_states"] = outputs["hidden_states"][config.inner_group_num - 1 :: config.inner_group_num]
    return x, {**outputs, **buffers}


def _scan(
    layers: TransformerLayer,
    sequence: tuple[int, ...],
    execution: Execution,
    apply: Callable[..., tuple[Carry, Outputs]],
    carry: Carry,
    inputs: tuple[Array, Any],
) -> tuple[Carry, Outputs]:
    """Applies stacked layers, or a shared one, by jax.lax.scan; `inputs` have a leading axis of layer applications."""
    structure, params = nnx.split(layers)
    select, source = _layer_source(params, sequence)

    def body(carry: Carry, step: tuple[Any, Array, Any]) -> tuple[Carry, Outputs]:
        source, *rest = step
        return apply(nnx.merge(structure, select(source)), carry, *rest)

    wrapped = _rematerialized(body, execution, fully_unrolled=int(execution.unroll) >= len(sequence))
    return jax.lax.scan(wrapped, carry, (source, *inputs), unroll=int(execution.unroll))


def _loop(
    layers: Any,
    sequence: tuple[int, ...],
    execution: Execution,
    apply: Callable[..., tuple[Carry, Outputs]],
    carry: Carry,
    inputs: tuple[Array, Any],
) -> tuple[Carry, Outputs]:
    """Applies a list of layers in a Python loop, as `_scan` does stacked ones."""
    apply = _rematerialized(apply, execution, fully_unrolled=True)
    outputs = []
    for number, index in enumerate(sequence):
        row, randomness = jax.tree.map(lambda array, number=number: array[number], inputs)
        carry, layer_outputs = apply(layers[index], carry, row, randomness)
        outputs.append(layer_outputs)
    return carry, jax.tree.map(lambda *each: jnp.stack(each), *outputs)


def _layer_source(params: Any, sequence: tuple[int, ...]) -> tuple[Callable[[Any], Any], Any]:
    """Returns a function from a scan input to a layer's parameters, and these scan inputs."""
    if len(set(sequence)) == 1 and max(sequence) == 0:
        return (lambda _: params), None
    if sequence == tuple(range(len(sequence))):
        return (lambda layer_params: layer_params), params
    return (lambda index: jax.tree.map(lambda stacked: stacked[index], params)), jnp.asarray(sequence)


def _rematerialized(body: Callable, execution: Execution, *, fully_unrolled: bool) -> Callable:
    if execution.remat == "none":
        return body
    # Inside a loop XLA cannot merge the recomputation with the forward pass. Unrolled it could, which would undo the
    # memory saving, so that it needs barriers.
    return jax.checkpoint(body, prevent_cse=fully_unrolled, policy=REMAT_POLICIES[execution.remat])
