"""The transformer layer as the papers write it, in NumPy and float64: the reference for the library's values."""

import math

import jax
import numpy as np

from flax_lite.architecture.config import EncoderConfig

GELU = {
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: max(x, 0.0),
}


def as_float64(tree):
    """Converts a tree of arrays to NumPy's float64."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def dense(params, x):
    """x W + b."""
    return x @ params["kernel"] + params["bias"]


def norm(params, x, epsilon=1e-12):
    """LayerNorm over the last axis."""
    centered = x - x.mean(-1, keepdims=True)
    return params["scale"] * centered / np.sqrt((centered**2).mean(-1, keepdims=True) + epsilon) + params["bias"]


def reference_layer(params, config: EncoderConfig, x, seen):
    """One post-LayerNorm layer in float64, head by head: a = LN(x + MHA(x)), y = LN(a + F2 act(F1 a)).

    `seen` [B, T, T] is True for the visible keys of each query.
    """
    attention, feed_forward = params["attention"], params["feed_forward"]
    queries, keys, values = (dense(attention[name], x) for name in ("query", "key", "value"))
    width = config.hidden_size // config.num_attention_heads
    contexts = []
    for head in range(config.num_attention_heads):
        part = slice(head * width, (head + 1) * width)
        scores = queries[..., part] @ np.swapaxes(keys[..., part], 1, 2) / math.sqrt(width)
        weights = np.where(seen, np.exp(scores), 0.0)
        contexts.append(weights / weights.sum(-1, keepdims=True) @ values[..., part])
    attended = norm(attention["layer_norm"], x + dense(attention["output"], np.concatenate(contexts, -1)))
    hidden = np.vectorize(GELU[config.hidden_act])(dense(feed_forward["intermediate"], attended))
    return norm(feed_forward["layer_norm"], attended + dense(feed_forward["output"], hidden))
