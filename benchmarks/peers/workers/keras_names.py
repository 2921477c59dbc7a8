"""The names and layouts of KerasHub's variables in Hugging Face's PyTorch."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

_SUFFIXES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "embeddings": "weight"}
# For each family, the name of each of KerasHub's modules of a layer.
_BERT_LAYER = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
_ALBERT_LAYER = {
    "self_attention_layer/query": "attention.query",
    "self_attention_layer/key": "attention.key",
    "self_attention_layer/value": "attention.value",
    "self_attention_layer/attention_output": "attention.dense",
    "self_attention_layer_norm": "attention.LayerNorm",
    "feedforward_intermediate_dense": "ffn",
    "feedforward_output_dense": "ffn_output",
    "feedforward_layer_norm": "full_layer_layer_norm",
}
_DISTILBERT_LAYER = {
    "self_attention_layer/query": "attention.q_lin",
    "self_attention_layer/key": "attention.k_lin",
    "self_attention_layer/value": "attention.v_lin",
    "self_attention_layer/attention_output": "attention.out_lin",
    "self_attention_layer_norm": "sa_layer_norm",
    "feedforward_intermediate_dense": "ffn.lin1",
    "feedforward_output_dense": "ffn.lin2",
    "feedforward_layer_norm": "output_layer_norm",
}
_LAYERS = {
    "albert": ("albert.encoder.albert_layer_groups.{}.albert_layers.{}", _ALBERT_LAYER),
    "bert": ("bert.encoder.layer.{}", _BERT_LAYER),
    "distilbert": ("distilbert.transformer.layer.{}", _DISTILBERT_LAYER),
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
        prefix, modules = _LAYERS[family]
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
