"""The post-LayerNorm transformer layer: self-attention, then the feed-forward block."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.activations import ACTIVATION_FUNCTIONS
from flax_lite.layers.attention import (
    attend,
    attention_probabilities,
    attention_scores,
    fused_attention,
    fused_attention_fits,
)
from flax_lite.layers.dense import linear
from flax_lite.layers.dropout import LayerMasks, drop
from flax_lite.layers.execution import Execution, recomputed
from flax_lite.layers.normalization import layer_norm, normalize


def add_and_norm(
    norm: nnx.LayerNorm,
    x: Float[Array, "B T D"],
    output: Float[Array, "B T D"],
    rate: float,
    keep: Bool[Array, "B T D"] | None,
    execution: Execution,
) -> Float[Array, "B T D"]:
    """LayerNorm(x + dropout(output)). The backward pass computes the statistics again."""
    return recomputed(lambda x, output: normalize(norm, x + drop(output, rate, keep)), execution)(x, output)


class SelfAttention(nnx.Module):
    """LayerNorm(x + dropout(Dense(attention(x))))."""

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.execution = execution
        width = config.hidden_size
        self.query = linear(width, width, config, execution, rngs=rngs)
        self.key = linear(width, width, config, execution, rngs=rngs)
        self.value = linear(width, width, config, execution, rngs=rngs)
        self.output = linear(width, width, config, execution, rngs=rngs)
        self.layer_norm = layer_norm(width, config, execution, rngs=rngs)

    def _project(self, x: Float[Array, "B T D"], *, fused: bool) -> tuple[Array, Array, Array]:
        """Q, K and V as [B, T, N, H]; `fused`: by one product with the three kernels side by side.

        Side by side they are copied at each call. In training that pays, for a gradient of one product is cheaper than
        the sum of three (BERT-base, 8 x 128, two CPU cores: 1.94 s a step, apart 2.07); forward alone it does not (one
        row of 32 tokens: 43 ms, apart 34), nor for cuDNN, which takes three arrays and gives three gradients:
        to take one apart and put it together again is 10 of the 72 GiB that a step moves outside of products
        (ALBERT-base, 65,536 tokens, by the compiler for an H200; 45.0 ms of 32,768 tokens, side by side 45.8).
        """
        heads = (*x.shape[:2], self.config.num_attention_heads, -1)
        parts = (self.query, self.key, self.value)
        if fused:
            kernel = jnp.concatenate([part.kernel[...] for part in parts], axis=-1).astype(x.dtype)
            products = jnp.split(jnp.dot(x, kernel), len(parts), axis=-1)
            biases = (part.bias[...].astype(x.dtype) for part in parts)  # type: ignore[index]
            projected = [product + bias for product, bias in zip(products, biases, strict=True)]
        else:
            projected = [part(x) for part in parts]
        queries, keys, values = (part.reshape(heads) for part in projected)
        return queries, keys, values

    def _fits_cudnn(self, x: Float[Array, "B T D"]) -> bool:
        return fused_attention_fits(x.shape[1], self.config.hidden_size // self.config.num_attention_heads)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "B 1 #T T"] | None,
        *,
        masks: LayerMasks | None = None,
        need_scores: bool = False,
    ) -> tuple[Float[Array, "B T D"], dict[str, Array]]:
        """The block's output and its internals by name; without masks it is deterministic.

        Internals are "queries", "keys", "values", and with `need_scores` surely also "scores" and "probabilities".
        """
        keep, keep_output = (None, None) if masks is None else masks[:2]
        by_cudnn = self.execution.attention == "cudnn" and not need_scores and keep is None and self._fits_cudnn(x)
        queries, keys, values = self._project(x, fused=masks is not None and not by_cudnn)
        internals = {"queries": queries, "keys": keys, "values": values}
        if by_cudnn:
            context = fused_attention(queries, keys, values, mask)
        else:
            scores = attention_scores(queries, keys)
            rate = self.config.attention_probs_dropout_prob
            attended = functools.partial(attend, mask=mask, rate=rate, keep=keep)
            context = recomputed(attended, self.execution)(scores, values)
            internals |= {"scores": scores, "probabilities": attention_probabilities(scores, mask)}
        output = self.output(context.reshape(x.shape))
        rate = self.config.attention_output_dropout_prob
        return add_and_norm(self.layer_norm, x, output, rate, keep_output, self.execution), internals


class FeedForward(nnx.Module):
    """LayerNorm(x + dropout(Dense(act(Dense(x)))))."""

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.execution = execution
        self.intermediate = linear(config.hidden_size, config.intermediate_size, config, execution, rngs=rngs)
        self.output = linear(config.intermediate_size, config.hidden_size, config, execution, rngs=rngs)
        self.layer_norm = layer_norm(config.hidden_size, config, execution, rngs=rngs)

    def __call__(self, x: Float[Array, "B T D"], *, keep: Bool[Array, "B T D"] | None = None) -> Float[Array, "B T D"]:
        """The block's output; without a mask it is deterministic."""
        activation = ACTIVATION_FUNCTIONS[self.config.hidden_act]
        output = recomputed(lambda hidden: self.output(activation(hidden)), self.execution)(self.intermediate(x))
        return add_and_norm(self.layer_norm, x, output, self.config.hidden_dropout_prob, keep, self.execution)


class TransformerLayer(nnx.Module):
    """Self-attention, then the feed-forward block."""

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        self.attention = SelfAttention(config, execution, rngs=rngs)
        self.feed_forward = FeedForward(config, execution, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "B 1 #T T"] | None,
        *,
        masks: LayerMasks | None = None,
        need_scores: bool = False,
    ) -> tuple[Float[Array, "B T D"], dict[str, Array]]:
        """The layer's output and its attention's internals; without masks (`draw_layer_masks`) it is deterministic."""
        with jax.named_scope("attention"):
            x, internals = self.attention(x, mask, masks=masks, need_scores=need_scores)
        with jax.named_scope("feed_forward"):
            return self.feed_forward(x, keep=None if masks is None else masks.feed_forward), internals
