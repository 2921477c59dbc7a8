"""The masked-LM forward pass in float64 NumPy, on the parameters of Hugging Face's Flax classes.

Written from the papers, without code of either implementation, so that both can be compared with it.
"""

import math
from collections.abc import Mapping

import numpy as np
from scipy import special

from flax_lite.architecture.config import EncoderConfig

# Names of the parts of a layer by family: query, key, value, attention output and its LayerNorm, feed-forward in,
# feed-forward out and its LayerNorm.
_LAYERS: Mapping[str, tuple[str, ...]] = {
    "albert": (
        "albert/encoder/albert_layer_groups/{group}/albert_layers/{inner}",
        *("attention/query", "attention/key", "attention/value", "attention/dense", "attention/LayerNorm"),
        *("ffn", "ffn_output", "full_layer_layer_norm"),
    ),
    "bert": (
        "bert/encoder/layer/{group}",
        *("attention/self/query", "attention/self/key", "attention/self/value"),
        *("attention/output/dense", "attention/output/LayerNorm"),
        *("intermediate/dense", "output/dense", "output/LayerNorm"),
    ),
    "distilbert": (
        "distilbert/transformer/layer/{group}",
        *("attention/q_lin", "attention/k_lin", "attention/v_lin", "attention/out_lin", "sa_layer_norm"),
        *("ffn/lin1", "ffn/lin2", "output_layer_norm"),
    ),
}
_HEADS: Mapping[str, tuple[str, str, str]] = {
    "albert": ("predictions/dense", "predictions/LayerNorm", "predictions/bias"),
    "bert": ("cls/predictions/transform/dense", "cls/predictions/transform/LayerNorm", "cls/predictions/bias"),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector/bias"),
}


class NumpyMaskedLM:
    """A tied masked-LM in float64.

    Attributes:
        params: parameters by Hugging Face's Flax paths, any dtype.
        config: the architecture.
    """

    def __init__(self, params: Mapping[str, np.ndarray], config: EncoderConfig):
        self.params = params
        self.config = config

    def __call__(
        self, input_ids: np.ndarray, attention_mask: np.ndarray, token_type_ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The last hidden states [B, T, D] and the logits [B, T, V]."""
        family = self.config.model_type
        x = self.encode(input_ids, attention_mask, token_type_ids)
        dense, norm, vocabulary_bias = _HEADS[family]
        transformed = self._norm(self._activate(self._dense(x, dense)), norm)
        return x, transformed @ self._get(f"{family}/embeddings/word_embeddings/embedding").T + self._get(
            vocabulary_bias
        )

    def encode(self, input_ids: np.ndarray, attention_mask: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """Returns the last hidden states [B, T, D]."""
        family = self.config.model_type
        x = self._embed(input_ids, token_type_ids)
        bias = np.where(np.asarray(attention_mask)[:, None, None, :] != 0, 0.0, -np.inf)
        for layer in range(self.config.num_hidden_layers):
            group = int(layer / (self.config.num_hidden_layers / self.config.num_hidden_groups))
            for inner in range(self.config.inner_group_num):
                x = self._layer(x, bias, _LAYERS[family][0].format(group=group, inner=inner))
        return x

    def _get(self, path: str) -> np.ndarray:
        return np.asarray(self.params[path], np.float64)

    def _embed(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        family = self.config.model_type
        x = self._get(f"{family}/embeddings/word_embeddings/embedding")[input_ids]
        x = x + self._get(f"{family}/embeddings/position_embeddings/embedding")[: x.shape[1]]
        if self.config.type_vocab_size:
            x = x + self._get(f"{family}/embeddings/token_type_embeddings/embedding")[token_type_ids]
        x = self._norm(x, f"{family}/embeddings/LayerNorm")
        return self._dense(x, "albert/encoder/embedding_hidden_mapping_in") if family == "albert" else x

    def _layer(self, x: np.ndarray, bias: np.ndarray, at: str) -> np.ndarray:
        parts = [f"{at}/{part}" for part in _LAYERS[self.config.model_type][1:]]
        query, key, value, attention_output, attention_norm, feed_in, feed_out, feed_norm = parts
        heads, width = self.config.num_attention_heads, self.config.hidden_size
        split = [
            self._dense(x, name).reshape(*x.shape[:2], heads, width // heads).swapaxes(1, 2)
            for name in (query, key, value)
        ]
        scores = split[0] @ split[1].swapaxes(2, 3) / math.sqrt(width // heads) + bias
        context = (special.softmax(scores, axis=-1) @ split[2]).swapaxes(1, 2).reshape(x.shape)
        x = self._norm(x + self._dense(context, attention_output), attention_norm)
        return self._norm(x + self._dense(self._activate(self._dense(x, feed_in)), feed_out), feed_norm)

    def _dense(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self._get(f"{name}/kernel") + self._get(f"{name}/bias")

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centered = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centered**2).mean(-1, keepdims=True) + self.config.layer_norm_eps)
        return centered / deviation * self._get(f"{name}/scale") + self._get(f"{name}/bias")

    def _activate(self, x: np.ndarray) -> np.ndarray:
        if self.config.hidden_act == "relu":
            return np.maximum(x, 0.0)
        if self.config.hidden_act == "gelu":
            return x * special.ndtr(x)
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
