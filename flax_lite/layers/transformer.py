"""The post-LayerNorm transformer encoder layer: multi-head self-attention, then the feed-forward block.

Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3; Devlin et al. 2019 (arXiv:1810.04805), section 3.
"""

import functools

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.activations import ACTIVATION_FUNCTIONS
from flax_lite.layers.attention import attend, attention_probabilities, attention_scores
from flax_lite.layers.dense import linear
from flax_lite.layers.dropout import LayerMasks, drop
from flax_lite.layers.execution import Execution, recompute_in_backward
from flax_lite.layers.kernels import cudnn_attention, cudnn_attention_fits, normalize, project_fused
from flax_lite.layers.normalization import layer_norm


def add_and_norm(
    norm: nnx.LayerNorm,
    x: Float[Array, "B T D"],
    output: Float[Array, "B T D"],
    rate: float,
    keep: Bool[Array, "B T D"] | None,
    execution: Execution,
) -> Float[Array, "B T D"]:
    """LayerNorm(x + dropout(output)); the backward pass recomputes the statistics."""
    return recompute_in_backward(lambda x, output: normalize(norm, x + drop(output, rate, keep)), execution)(x, output)


class SelfAttention(nnx.Module):
    """LayerNorm(x + dropout(concat(head_1, ..., head_N) W + b)), head = softmax(Q K^T / sqrt(H)) V."""

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.execution = execution
        width = config.hidden_size
        self.query = linear(width, width, config, execution, rngs=rngs)
        self.key = linear(width, width, config, execution, rngs=rngs)
        self.value = linear(width, width, config, execution, rngs=rngs)
        self.output = linear(width, width, config, execution, rngs=rngs)
        self.layer_norm = layer_norm(width, config, execution, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "B 1 #T T"] | None,
        *,
        dropout_masks: LayerMasks | None = None,
        need_scores: bool = False,
    ) -> tuple[Float[Array, "B T D"], dict[str, Array]]:
        """Applies the block; without `dropout_masks` it is deterministic.

        Args:
            x: input.
            mask: which keys each query may attend to; None for all.
            dropout_masks: dropout masks of this layer.
            need_scores: whether scores and probabilities must be among the intermediates, which excludes cuDNN.

        Returns:
            The output and the intermediates by name: "queries", "keys", "values", and "scores" and "probabilities" if
            they are computed.
        """
        keep, keep_output = (None, None) if dropout_masks is None else dropout_masks[:2]
        use_cudnn = self.execution.attention == "cudnn" and not need_scores and keep is None and self._fits_cudnn(x)
        q_BTNH, k_BTNH, v_BTNH = self._project(x, fused=dropout_masks is not None and not use_cudnn)
        intermediates = {"queries": q_BTNH, "keys": k_BTNH, "values": v_BTNH}
        if use_cudnn:
            context_BTNH = cudnn_attention(q_BTNH, k_BTNH, v_BTNH, mask)
        else:
            scores_BNTS = attention_scores(q_BTNH, k_BTNH)
            rate = self.config.attention_probs_dropout_prob
            attention = functools.partial(attend, mask=mask, rate=rate, keep=keep)
            context_BTNH = recompute_in_backward(attention, self.execution)(scores_BNTS, v_BTNH)
            intermediates |= {"scores": scores_BNTS, "probabilities": attention_probabilities(scores_BNTS, mask)}
        output_BTD = self.output(context_BTNH.reshape(x.shape))
        rate = self.config.attention_output_dropout_prob
        return add_and_norm(self.layer_norm, x, output_BTD, rate, keep_output, self.execution), intermediates

    def _project(self, x: Float[Array, "B T D"], *, fused: bool) -> tuple[Float[Array, "B T N H"], ...]:
        """Q, K and V: x W + b each; `fused` in training, where one product of all three is faster."""
        layers = (self.query, self.key, self.value)
        projected_BTD = project_fused(layers, x) if fused else [layer(x) for layer in layers]
        heads_shape = (*x.shape[:2], self.config.num_attention_heads, -1)
        return tuple(array.reshape(heads_shape) for array in projected_BTD)

    def _fits_cudnn(self, x: Float[Array, "B T D"]) -> bool:
        return cudnn_attention_fits(x.shape[1], self.config.hidden_size // self.config.num_attention_heads)


class FeedForward(nnx.Module):
    """LayerNorm(x + dropout(act(x W_1 + b_1) W_2 + b_2))."""

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.execution = execution
        self.intermediate = linear(config.hidden_size, config.intermediate_size, config, execution, rngs=rngs)
        self.output = linear(config.intermediate_size, config.hidden_size, config, execution, rngs=rngs)
        self.layer_norm = layer_norm(config.hidden_size, config, execution, rngs=rngs)

    def __call__(self, x: Float[Array, "B T D"], *, keep: Bool[Array, "B T D"] | None = None) -> Float[Array, "B T D"]:
        """Applies the block; without a dropout mask it is deterministic."""
        activation = ACTIVATION_FUNCTIONS[self.config.hidden_act]
        hidden_BTF = self.intermediate(x)
        output_BTD = recompute_in_backward(lambda hidden: self.output(activation(hidden)), self.execution)(hidden_BTF)
        return add_and_norm(self.layer_norm, x, output_BTD, self.config.hidden_dropout_prob, keep, self.execution)


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
        dropout_masks: LayerMasks | None = None,
        need_scores: bool = False,
    ) -> tuple[Float[Array, "B T D"], dict[str, Array]]:
        """Applies the layer; without `dropout_masks` (`draw_layer_masks`) it is deterministic.

        Args and Returns are those of SelfAttention.
        """
        with jax.named_scope("attention"):
            x, intermediates = self.attention(x, mask, dropout_masks=dropout_masks, need_scores=need_scores)
        with jax.named_scope("feed_forward"):
            keep = None if dropout_masks is None else dropout_masks.feed_forward
            return self.feed_forward(x, keep=keep), intermediates
