"""Names, shapes and values of the variables in google_fixture/, which TensorFlow is not needed to compute.

`write_google_fixture.py` wrote them with TensorFlow; the tests compute them again. Names are copied from the variable
scopes of google-research/albert and google-research/bert (modeling.py, run_pretraining.py, run_classifier.py and
run_squad*.py), not from the weight tables under test.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).parent / "google_fixture"
Shapes = dict[str, tuple[int, ...]]

# V=11, E=4 (ALBERT), D=6, N=2, F=10: as many different sizes as the model allows.
SIZES: Mapping[str, Any] = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 6,
    "initializer_range": 0.02,
    "intermediate_size": 10,
    "max_position_embeddings": 5,
    "num_attention_heads": 2,
    "type_vocab_size": 2,
    "vocab_size": 11,
}
# The keys of albert_base's albert_config.json and of uncased_L-12_H-768_A-12's bert_config.json.
ALBERT: Mapping[str, Any] = {
    **SIZES,
    "embedding_size": 4,
    "num_hidden_layers": 3,
    "num_hidden_groups": 1,
    "net_structure_type": 0,
    "gap_size": 0,
    "num_memory_blocks": 0,
    "inner_group_num": 1,
    "down_scale_factor": 1,
}
BERT: Mapping[str, Any] = {**SIZES, "num_hidden_layers": 2}


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns values in [-0.5, 0.5) that depend only on the name and the shape."""
    count = np.arange(np.prod(shape, dtype=np.int64), dtype=np.int64)
    numbers = (zlib.crc32(name.encode()) % 1009 + 7919 * count) % 1009 / 1009 - 0.5
    return numbers.astype(np.float32).reshape(shape)


def dense(scope: str, rows: int, columns: int) -> Shapes:
    return {f"{scope}/kernel": (rows, columns), f"{scope}/bias": (columns,)}


def layer_norm(scope: str, width: int) -> Shapes:
    return {f"{scope}/gamma": (width,), f"{scope}/beta": (width,)}


def embeddings(config: Mapping[str, Any], width: int) -> Shapes:
    scope = "bert/embeddings"
    return {
        f"{scope}/word_embeddings": (config["vocab_size"], width),
        f"{scope}/token_type_embeddings": (config["type_vocab_size"], width),
        f"{scope}/position_embeddings": (config["max_position_embeddings"], width),
        **layer_norm(f"{scope}/LayerNorm", width),
    }


def masked_lm(config: Mapping[str, Any], width: int) -> Shapes:
    scope = "cls/predictions"
    return {
        **dense(f"{scope}/transform/dense", config["hidden_size"], width),
        **layer_norm(f"{scope}/transform/LayerNorm", width),
        f"{scope}/output_bias": (config["vocab_size"],),
    }


def output(scope: str, config: Mapping[str, Any], count: int) -> Shapes:
    return {f"{scope}output_weights": (count, config["hidden_size"]), f"{scope}output_bias": (count,)}


def albert_encoder(config: Mapping[str, Any]) -> Shapes:
    width, inner_width, embedding = config["hidden_size"], config["intermediate_size"], config["embedding_size"]
    shapes = embeddings(config, embedding)
    if embedding != width:
        shapes |= dense("bert/encoder/embedding_hidden_mapping_in", embedding, width)
    for group in range(config["num_hidden_groups"]):
        for inner in range(config["inner_group_num"]):
            scope = f"bert/encoder/transformer/group_{group}/inner_group_{inner}"
            for name in ("query", "key", "value"):
                shapes |= dense(f"{scope}/attention_1/self/{name}", width, width)
            shapes |= dense(f"{scope}/attention_1/output/dense", width, width)
            shapes |= layer_norm(f"{scope}/LayerNorm", width)
            shapes |= dense(f"{scope}/ffn_1/intermediate/dense", width, inner_width)
            shapes |= dense(f"{scope}/ffn_1/intermediate/output/dense", inner_width, width)
            shapes |= layer_norm(f"{scope}/LayerNorm_1", width)
    return shapes | dense("bert/pooler/dense", width, width)


def bert_encoder(config: Mapping[str, Any]) -> Shapes:
    width, inner_width = config["hidden_size"], config["intermediate_size"]
    shapes = embeddings(config, width)
    for layer in range(config["num_hidden_layers"]):
        scope = f"bert/encoder/layer_{layer}"
        for name in ("query", "key", "value"):
            shapes |= dense(f"{scope}/attention/self/{name}", width, width)
        shapes |= dense(f"{scope}/attention/output/dense", width, width)
        shapes |= layer_norm(f"{scope}/attention/output/LayerNorm", width)
        shapes |= dense(f"{scope}/intermediate/dense", width, inner_width)
        shapes |= dense(f"{scope}/output/dense", inner_width, width)
        shapes |= layer_norm(f"{scope}/output/LayerNorm", width)
    return shapes | dense("bert/pooler/dense", width, width)


def albert_pretraining(config: Mapping[str, Any]) -> Shapes:
    heads = masked_lm(config, config["embedding_size"]) | output("cls/seq_relationship/", config, 2)
    return albert_encoder(config) | heads


def bert_pretraining(config: Mapping[str, Any]) -> Shapes:
    heads = masked_lm(config, config["hidden_size"]) | output("cls/seq_relationship/", config, 2)
    return bert_encoder(config) | heads


ALBERT_GROUPS = {**ALBERT, "num_hidden_groups": 2, "inner_group_num": 2}
ALBERT_WIDE = {**ALBERT, "embedding_size": 6}
# Path of each checkpoint without `.index`, its configuration, and the variables of its model.
CHECKPOINTS: Mapping[str, tuple[Mapping[str, Any], Shapes]] = {
    "albert/model.ckpt-best": (ALBERT, albert_pretraining(ALBERT)),
    "albert_hub/variables/variables": (ALBERT_GROUPS, albert_pretraining(ALBERT_GROUPS)),
    "albert_squad/model.ckpt-3": (ALBERT_WIDE, albert_encoder(ALBERT_WIDE) | output("cls/squad/", ALBERT_WIDE, 2)),
    "bert/bert_model.ckpt": (BERT, bert_pretraining(BERT)),
    "bert_classifier/model.ckpt-7": (BERT, bert_encoder(BERT) | output("", BERT, 3)),
}
# One tensor of each supported dtype, and of each kind that a checkpoint may contain besides parameters.
ODDITIES: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "bfloat16": ("bfloat16", (2, 3)),
    "bool": ("bool", (3,)),
    "empty": ("float32", (0, 3)),
    "float16": ("float16", (5,)),
    "float64": ("float64", (2, 2)),
    "int64": ("int64", ()),
    "scalar": ("float32", ()),
    "string": ("string", (2,)),
}
