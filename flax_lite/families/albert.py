"""ALBERT: one layer shared across the depth, and factorized embeddings (Lan et al., 2019, arXiv:1909.11942)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from flax_lite.architecture import weights
from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import Family
from flax_lite.architecture.settings import RELATIVE_POSITIONS
from flax_lite.files.settings import Table

# Google's code computes tanh GELU for every English release (google-research/albert, modeling.py, gelu). Hugging Face's
# config.json has "gelu" (erf) for v1 and "gelu_new" (tanh) for v2; presets follow config.json, so that outputs equal
# Hugging Face's, and Google's files are read with tanh (flax_lite.checkpoints.sources.google). v2 was trained without
# dropout, and so was xxlarge v1 (google-research/albert, README.md and github.com/google-research/albert/issues/23).
_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "num_hidden_layers": 12}
_LARGE = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24}
_XLARGE = {"hidden_size": 2048, "num_attention_heads": 16, "intermediate_size": 8192, "num_hidden_layers": 24}
_XXLARGE = {"hidden_size": 4096, "num_attention_heads": 64, "intermediate_size": 16384, "num_hidden_layers": 12}
_V1 = {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
_V2 = {"hidden_act": "gelu_new", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlbertConfig(EncoderConfig):
    """Configuration of an ALBERT encoder; defaults are Hugging Face's, which have the sizes of xxlarge."""

    model_type: ClassVar[str] = "albert"
    has_embedding_projection: ClassVar[bool] = True
    json_names: ClassVar[Mapping[str, str]] = {
        name: name
        for name in (
            "vocab_size",
            "embedding_size",
            "hidden_size",
            "num_hidden_layers",
            "num_hidden_groups",
            "inner_group_num",
            "num_attention_heads",
            "intermediate_size",
            "hidden_act",
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "classifier_dropout_prob",
            "max_position_embeddings",
            "type_vocab_size",
            "initializer_range",
            "layer_norm_eps",
            "tie_word_embeddings",
            "pad_token_id",
            "problem_type",
        )
    }
    json_settings: ClassVar[Table] = RELATIVE_POSITIONS
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "albert-base-v1": {**_BASE, **_V1},
        "albert-large-v1": {**_LARGE, **_V1},
        "albert-xlarge-v1": {**_XLARGE, **_V1},
        "albert-xxlarge-v1": {**_XXLARGE, **_V1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        "albert-base-v2": {**_BASE, **_V2},
        "albert-large-v2": {**_LARGE, **_V2},
        "albert-xlarge-v2": {**_XLARGE, **_V2},
        "albert-xxlarge-v2": {**_XXLARGE, **_V2},
    }

    vocab_size: int = 30000
    embedding_size: int = 128
    hidden_size: int = 4096
    num_hidden_layers: int = 12
    num_hidden_groups: int = 1
    inner_group_num: int = 1
    num_attention_heads: int = 64
    intermediate_size: int = 16384
    hidden_act: str = "gelu_new"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    classifier_dropout_prob: float | None = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    sinusoidal_positions: bool = dataclasses.field(init=False, default=False)


# Columns: parameter path, Hugging Face module, Google scope (by default the module with slashes).
_WEIGHTS = weights.WeightTable(
    family="Albert",
    prefix="albert",
    encoder=(
        *weights.embedding("embeddings/word", "embeddings.word_embeddings"),
        *weights.embedding("embeddings/position", "embeddings.position_embeddings"),
        *weights.embedding("embeddings/token_type", "embeddings.token_type_embeddings"),
        *weights.layer_norm("embeddings/layer_norm", "embeddings.LayerNorm"),
        *weights.dense("embeddings/projection", "encoder.embedding_hidden_mapping_in"),
        *weights.layers(
            "encoder.albert_layer_groups.{group}.albert_layers.{inner}",
            (
                *weights.dense("attention/query", "attention.query", "attention_1/self/query"),
                *weights.dense("attention/key", "attention.key", "attention_1/self/key"),
                *weights.dense("attention/value", "attention.value", "attention_1/self/value"),
                *weights.dense("attention/output", "attention.dense", "attention_1/output/dense"),
                *weights.layer_norm("attention/layer_norm", "attention.LayerNorm", "LayerNorm"),
                *weights.dense("feed_forward/intermediate", "ffn", "ffn_1/intermediate/dense"),
                *weights.dense("feed_forward/output", "ffn_output", "ffn_1/intermediate/output/dense"),
                *weights.layer_norm("feed_forward/layer_norm", "full_layer_layer_norm", "LayerNorm_1"),
            ),
            "encoder/transformer/group_{group}/inner_group_{inner}",
        ),
        *weights.dense("pooler", "pooler", "pooler/dense"),
    ),
    heads=(
        *weights.dense("masked_lm_head/dense", "predictions.dense", "cls/predictions/transform/dense"),
        *weights.layer_norm(
            "masked_lm_head/layer_norm", "predictions.LayerNorm", "cls/predictions/transform/LayerNorm"
        ),
        *weights.decoder("masked_lm_head/decoder", "predictions.decoder"),
        *weights.bias("masked_lm_head", "predictions", ("predictions.decoder",), "cls/predictions"),
        *weights.output("sentence_head", "sop_classifier.classifier", "cls/seq_relationship"),
        *weights.output("classifier", "classifier"),
        *weights.output("qa_outputs", "qa_outputs", "cls/squad"),
    ),
)

FAMILY = Family(
    config=AlbertConfig, weights=_WEIGHTS, distinctive_keys=frozenset({"embedding_size", "num_hidden_groups"})
)
