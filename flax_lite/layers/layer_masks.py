"""What dropout keeps of a layer, drawn apart from the layer: for all of them by one program, or within each."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Bool

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.dropout import keep_mask, split_key


class LayerMasks(NamedTuple):
    """True where an element is kept; None where all are.

    Attributes:
        probabilities: of attention.
        attention_output: of the Dense after attention.
        feed_forward: of the feed-forward block's second Dense.
    """

    probabilities: Bool[Array, "B N T T"] | None
    attention_output: Bool[Array, "B T D"] | None
    feed_forward: Bool[Array, "B T D"] | None


def draw_layer_masks(config: EncoderConfig, batch: int, length: int, key: jax.Array) -> LayerMasks:
    """The masks of one layer, each from a key of its own.

    Args:
        config: the architecture, with its rates.
        batch: B.
        length: T.
        key: the layer's.
    """
    attention_key, feed_forward_key = split_key(key, 2)
    probabilities_key, output_key = split_key(attention_key, 2)
    square, hidden = (batch, config.num_attention_heads, length, length), (batch, length, config.hidden_size)
    return LayerMasks(
        probabilities=keep_mask(square, config.attention_probs_dropout_prob, probabilities_key),
        attention_output=keep_mask(hidden, config.attention_output_dropout_prob, output_key),
        feed_forward=keep_mask(hidden, config.hidden_dropout_prob, feed_forward_key),
    )
