"""Selection of the layers' intermediate values that a forward pass returns beside its output."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from flax_lite.architecture.config import EncoderConfig

CAPTURES = ("scores", "queries", "keys", "values", "outputs")


@dataclasses.dataclass(frozen=True)
class CaptureSpec:
    """Values of the layers to return beside their output.

    Attributes:
        hidden_states: whether to return every layer's output.
        attentions: whether to return every layer's attention probabilities.
        names: values to return of chosen layers, out of CAPTURES.
        layers: the chosen layers, counted from 0, negative from the end.
    """

    hidden_states: bool = False
    attentions: bool = False
    names: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()

    def check(self, num_layers: int) -> None:
        """Raises ValueError for an unknown name or layer, or for names without layers and vice versa."""
        unknown = [name for name in self.names if name not in CAPTURES]
        if unknown:
            raise ValueError(f"capture={unknown} is not known; choose from {', '.join(CAPTURES)}")
        outside = [layer for layer in self.layers if not -num_layers <= layer < num_layers]
        if outside:
            raise ValueError(f"capture_layers={outside} lie outside the {num_layers} layers of this encoder")
        if len({layer % num_layers for layer in self.layers}) < len(self.layers):
            raise ValueError(
                f"capture_layers={list(self.layers)} name a layer twice (negative layers count from the end)"
            )
        if bool(self.names) != bool(self.layers):
            raise ValueError("capture and capture_layers must be given together: what to capture, and in which layers")

    @property
    def need_scores(self) -> bool:
        """Whether attention must compute its scores explicitly, not within a fused kernel."""
        return self.attentions or "scores" in self.names

    def rows(self, num_layers: int, inner: int) -> list[int]:
        """Returns the row in the capture buffers for each layer application; one past the end if it has none.

        Args:
            num_layers: depth of the encoder.
            inner: layer applications per layer; the last one is captured.
        """
        rows = [len(self.layers)] * (num_layers * inner)
        for row, layer in enumerate(self.layers):
            rows[(layer % num_layers) * inner + inner - 1] = row
        return rows

    def buffers(self, config: EncoderConfig, x: Float[Array, "B T D"]) -> dict[str, Array]:
        """Returns a zero buffer for each name, with one row for each chosen layer.

        Args:
            config: the architecture.
            x: input of the layers, which decides shapes and dtype.
        """
        batch, length, width = x.shape
        heads = config.num_attention_heads
        projected = ((len(self.layers), batch, length, heads, width // heads), x.dtype)
        shapes: dict[str, Any] = dict.fromkeys(CAPTURES, projected)
        shapes["outputs"] = ((len(self.layers), *x.shape), x.dtype)
        shapes["scores"] = ((len(self.layers), batch, heads, length, length), jnp.dtype(jnp.float32))
        # zeros_like instead of zeros: under shard_map the carry of a scan must vary over the same mesh axes as the
        # values written into it, those of x.
        return {name: jnp.zeros_like(x, shape=shapes[name][0], dtype=shapes[name][1]) for name in self.names}
