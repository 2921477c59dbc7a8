"""The depth of the encoder: one scan over the sequence of physical layers, or for inference layers that lie apart."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.dropout import LayerMasks, draw_layer_masks
from flax_lite.layers.execution import FULL_UNROLL_LAYERS, Execution
from flax_lite.layers.transformer import TransformerLayer

Outputs = dict[str, Array]
Carry = tuple[Array, Outputs]

CAPTURES = ("scores", "queries", "keys", "values", "outputs")
REMAT_POLICIES: dict[str, Callable[..., bool] | None] = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": None,
}


@dataclasses.dataclass(frozen=True)
class CaptureSpec:
    """What the caller wants to see of the layers beside their output.

    Attributes:
        hidden_states: every layer's output.
        attentions: every layer's attention probabilities.
        captures: names out of CAPTURES.
        layers: the layers to capture, counted from 0, negative from the end.
    """

    hidden_states: bool = False
    attentions: bool = False
    captures: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()

    def check(self, num_layers: int) -> None:
        """Raises ValueError for a name or a layer that does not exist, or one given without the other."""
        unknown = [name for name in self.captures if name not in CAPTURES]
        if unknown:
            raise ValueError(f"capture={unknown} is not known; choose from {', '.join(CAPTURES)}")
        outside = [layer for layer in self.layers if not -num_layers <= layer < num_layers]
        if outside:
            raise ValueError(f"capture_layers={outside} lie outside the {num_layers} layers of this encoder")
        if len({layer % num_layers for layer in self.layers}) < len(self.layers):
            raise ValueError(
                f"capture_layers={list(self.layers)} name a layer twice (negative layers count from the end)"
            )
        if bool(self.captures) != bool(self.layers):
            raise ValueError("capture and capture_layers go together: name both what to capture and in which layers")

    @property
    def need_scores(self) -> bool:
        """Whether attention must compute its scores openly."""
        return self.attentions or "scores" in self.captures

    def rows(self, num_layers: int, inner: int) -> list[int]:
        """For each layer application, its row in the capture buffers, or one past the end."""
        rows = [len(self.layers)] * (num_layers * inner)
        for row, layer in enumerate(self.layers):
            rows[(layer % num_layers) * inner + inner - 1] = row
        return rows


def make_layers(config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> TransformerLayer:
    """The physical layers as one module, parameters stacked on a leading axis; no such axis where there is one layer.

    Every layer draws its initial values from its own key.
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
    requests: CaptureSpec,
) -> tuple[Float[Array, "B T D"], Mapping[str, Array]]:
    """Applies the layers in the order of `config.layer_sequence()`.

    One scan body serves every depth. A single shared layer is closed over; layers 0..n-1 in order are scanned over; any
    other sequence indexes the stack inside the body. Program size and compile time therefore do not grow with depth.
    Layers that lie apart (`flax_lite.layers.stack`) are applied one by one instead.

    Returns:
        The last output, and by name what `requests` asked for: "hidden_states" [layers, B, T, D], "attentions"
        [applications, B, N, T, T], and a buffer with one row for each captured layer.
    """
    requests.check(config.num_hidden_layers)
    sequence = config.layer_sequence()
    captured_rows = jnp.asarray(requests.rows(config.num_hidden_layers, config.inner_group_num))
    draw = functools.partial(draw_layer_masks, config, *x.shape[:2])
    keys = None if key is None else jax.random.split(key, len(sequence))
    # The backward pass keeps the masks of all layers where nothing is recomputed.
    drawn = _draw_together(draw, keys, execution) if keys is not None and execution.remat == "none" else keys

    def apply(layer: TransformerLayer, carry: Carry, row: Array, masks: Any) -> tuple[Carry, Outputs]:
        x, buffers = carry
        masks = draw(masks) if isinstance(masks, jax.Array) else masks
        x, internals = layer(x, mask, masks=masks, need_scores=requests.need_scores)
        internals = {**internals, "outputs": x}
        buffers = {name: buffer.at[row].set(internals[name], mode="drop") for name, buffer in buffers.items()}
        outputs = {"hidden_states": x} if requests.hidden_states else {}
        if requests.attentions:
            outputs["attentions"] = internals["probabilities"]
        return (x, buffers), outputs

    carry = (x, _capture_buffers(config, requests, x))
    run: Callable[..., Any] = _one_by_one if isinstance(layers, nnx.List) else _scanned
    (x, buffers), outputs = run(layers, sequence, execution, apply, carry, (captured_rows, drawn))
    if requests.hidden_states:
        outputs["hidden_states"] = outputs["hidden_states"][config.inner_group_num - 1 :: config.inner_group_num]
    return x, {**outputs, **buffers}


def _draw_together(draw: Callable[[Array], LayerMasks], keys: Array, execution: Execution) -> LayerMasks:
    """The masks of all layers, on a leading axis: one program compiles sooner than one for each layer.

    Where layers are unrolled on CPU it is a loop. XLA would otherwise put the draw into each of the kernels that read a
    mask, three or four of them: as long to run, and a quarter of the time to compile a training step of 12 layers
    (ALBERT 5.6 s, with the loop 4.3; BERT 7.6 and 5.9; width 256, two cores, jax 0.10.2). For a GPU it does not.
    """
    if int(execution.unroll) < len(keys):
        return jax.vmap(draw)(keys)
    return jax.lax.platform_dependent(keys, cpu=functools.partial(jax.lax.map, draw), default=jax.vmap(draw))


def _scanned(
    layers: TransformerLayer,
    sequence: tuple[int, ...],
    execution: Execution,
    apply: Callable[..., tuple[Carry, Outputs]],
    carry: Carry,
    steps: tuple[Array, Any],
) -> tuple[Carry, Outputs]:
    structure, params = nnx.split(layers)
    select, source = _layer_source(params, sequence)

    def body(carry: Carry, step: tuple[Any, Array, Any]) -> tuple[Carry, Outputs]:
        source, *rest = step
        return apply(nnx.merge(structure, select(source)), carry, *rest)

    wrapped = _rematerialized(body, execution, fully_unrolled=int(execution.unroll) >= len(sequence))
    return jax.lax.scan(wrapped, carry, (source, *steps), unroll=int(execution.unroll))


def _one_by_one(
    layers: Any,
    sequence: tuple[int, ...],
    execution: Execution,
    apply: Callable[..., tuple[Carry, Outputs]],
    carry: Carry,
    steps: tuple[Array, Any],
) -> tuple[Carry, Outputs]:
    apply = _rematerialized(apply, execution, fully_unrolled=True)
    outputs = []
    for number, index in enumerate(sequence):
        row, key = jax.tree.map(lambda array, number=number: array[number], steps)
        carry, found = apply(layers[index], carry, row, key)
        outputs.append(found)
    return carry, jax.tree.map(lambda *each: jnp.stack(each), *outputs)


def _layer_source(params: Any, sequence: tuple[int, ...]) -> tuple[Callable[[Any], Any], Any]:
    """How the scan body gets a layer's parameters: a function, and what the scan feeds it at each step."""
    if len(set(sequence)) == 1 and max(sequence) == 0:
        return (lambda _: params), None
    if sequence == tuple(range(len(sequence))):
        return (lambda layer_params: layer_params), params
    return (lambda index: jax.tree.map(lambda stacked: stacked[index], params)), jnp.asarray(sequence)


def _capture_buffers(config: EncoderConfig, requests: CaptureSpec, x: Array) -> dict[str, Array]:
    batch, length, width = x.shape
    heads = config.num_attention_heads
    projected = ((len(requests.layers), batch, length, heads, width // heads), x.dtype)
    shapes: dict[str, Any] = dict.fromkeys(CAPTURES, projected)
    shapes["outputs"] = ((len(requests.layers), *x.shape), x.dtype)
    shapes["scores"] = ((len(requests.layers), batch, heads, length, length), jnp.dtype(jnp.float32))
    # zeros_like, not zeros: under shard_map the state of a loop must vary over the same mesh axes from the start as
    # what the layers put there, that is as x.
    return {name: jnp.zeros_like(x, shape=shapes[name][0], dtype=shapes[name][1]) for name in requests.captures}


def _rematerialized(body: Callable, execution: Execution, *, fully_unrolled: bool) -> Callable:
    if execution.remat == "none":
        return body
    # Inside a loop XLA cannot merge the recomputation with the forward pass; unrolled it can, and undoes the saving.
    return jax.checkpoint(body, prevent_cse=fully_unrolled, policy=REMAT_POLICIES[execution.remat])


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
