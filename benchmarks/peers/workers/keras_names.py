"""The names and layouts of KerasHub's variables in Hugging Face's PyTorch."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

_SUFFIXES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "embeddings": "weight"}
# KerasHub's modules of a layer, and each family's prefix and names for them.
_MODULES = (
    *("self_attention_layer/query", "self_attention_layer/key", "self_attention_layer/value"),
    *("self_attention_layer/attention_output", "self_attention_layer_norm"),
    *("feedforward_intermediate_dense", "feedforward_output_dense", "feedforward_layer_norm"),
)
_LAYERS = {
    "albert": (
        "albert.encoder.albert_layer_groups.{}.albert_layers.{}",
        *("attention.query", "attention.key", "attention.value", "attention.dense", "attention.LayerNorm"),
        *("ffn", "ffn_output", "full_layer_layer_norm"),
    ),
    "bert": (
        "bert.encoder.layer.{}",
        *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
        *("attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"),
    ),
    "distilbert": (
        "distilbert.transformer.layer.{}",
        *("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm"),
        *("ffn.lin1", "ffn.lin2", "output_layer_norm"),
    ),
}
_LAYER = re.compile(r"^(?:group_(\d+)_inner_layer_(\d+)|transformer_layer_(\d+))/(.*)/(\w+)$")
_EMBEDDINGS = {
    "token_embedding": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "segment_embedding": "embeddings.token_type_embeddings",
    "embeddings_layer_norm": "embeddings.LayerNorm",
    "embedding_projection": "encoder.embedding_hidden_mapping_in",
}
_HEADS: Mapping[str, tuple[str, str, str]] = {  # dense, LayerNorm, bias
    "albert": ("predictions.dense", "predictions.LayerNorm", "predictions.bias"),
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
}


def hugging_face_name(path: str, family: str) -> str:
    """Returns the name in PyTorch's state dict of the variable at a Keras path."""
    if layer := _LAYER.match(path):
        *numbers, module, suffix = (part for part in layer.groups() if part is not None)
        prefix, *names = _LAYERS[family]
        modules = dict(zip(_MODULES, names, strict=True))
        return f"{prefix.format(*numbers)}.{modules[module]}.{_SUFFIXES[suffix]}"
    module, _, suffix = path.removeprefix("token_and_position_embedding/").rpartition("/")
    dense, norm, bias = _HEADS[family]
    heads = {"mlm_head/intermediate_dense": dense, "mlm_head/intermediate_layer_norm": norm}
    if suffix == "output_bias":
        return bias
    name = heads.get(module) or f"{family}.{_EMBEDDINGS[module]}"
    return f"{name}.{_SUFFIXES[suffix]}"


def to_keras(path: str, tensor: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Converts PyTorch's layout to Keras': kernels are transposed, and attention has an axis of heads."""
    return (tensor.T if path.endswith("kernel") else tensor).reshape(shape)


def to_torch(path: str, array: np.ndarray) -> np.ndarray:
    """Converts Keras' layout to PyTorch's."""
    if not path.endswith("kernel"):
        return array.reshape(-1) if "self_attention_layer/" in path else array
    rows = math.prod(array.shape[:-1]) if "attention_output" in path else array.shape[0]
    return array.reshape(rows, -1).T
