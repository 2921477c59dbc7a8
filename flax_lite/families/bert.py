"""BERT, the teacher and the baseline (Devlin et al., 2018, arXiv:1810.04805; smaller sizes: Turc et al., 2019)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from flax_lite.architecture import weights
from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import Family
from flax_lite.architecture.settings import RELATIVE_POSITIONS
from flax_lite.files.settings import Table, refused


def _sizes(num_hidden_layers: int, hidden_size: int, vocab_size: int = 30522) -> dict[str, int]:
    """Returns the sizes of a released model: Google uses heads of width 64 and feed-forward layers of width 4 D."""
    return {
        "num_hidden_layers": num_hidden_layers,
        "hidden_size": hidden_size,
        "num_attention_heads": hidden_size // 64,
        "intermediate_size": 4 * hidden_size,
        "vocab_size": vocab_size,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig(EncoderConfig):
    """Configuration of a BERT encoder; defaults are Hugging Face's, which are bert-base-uncased."""

    model_type: ClassVar[str] = "bert"
    json_names: ClassVar[Mapping[str, str]] = {
        "classifier_dropout_prob": "classifier_dropout",
        **{
            name: name
            for name in (
                "vocab_size",
                "hidden_size",
                "num_hidden_layers",
                "num_attention_heads",
                "intermediate_size",
                "hidden_act",
                "hidden_dropout_prob",
                "attention_probs_dropout_prob",
                "max_position_embeddings",
                "type_vocab_size",
                "initializer_range",
                "layer_norm_eps",
                "tie_word_embeddings",
                "pad_token_id",
                "problem_type",
            )
        },
    }
    json_settings: ClassVar[Table] = {
        **RELATIVE_POSITIONS,
        **refused("is_decoder", "add_cross_attention", why="tokens of a decoder attend to earlier tokens only"),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "bert-tiny": _sizes(2, 128),
        "bert-mini": _sizes(4, 256),
        "bert-small": _sizes(4, 512),
        "bert-medium": _sizes(8, 512),
        "bert-base-uncased": _sizes(12, 768),
        "bert-base-cased": _sizes(12, 768, 28996),
        "bert-base-multilingual-uncased": _sizes(12, 768, 105879),
        "bert-base-multilingual-cased": _sizes(12, 768, 119547),
        "bert-base-chinese": _sizes(12, 768, 21128),
        "bert-large-uncased": _sizes(24, 1024),
        "bert-large-cased": _sizes(24, 1024, 28996),
    }

    vocab_size: int = 30522
    embedding_size: int = dataclasses.field(init=False)
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_hidden_groups: int = dataclasses.field(init=False)
    inner_group_num: int = dataclasses.field(init=False, default=1)
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout_prob: float | None = None
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    sinusoidal_positions: bool = dataclasses.field(init=False, default=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "embedding_size", self.hidden_size)
        object.__setattr__(self, "num_hidden_groups", self.num_hidden_layers)
        super().__post_init__()


# Columns: parameter path, Hugging Face module, Google scope (by default the module with slashes).
_WEIGHTS = weights.WeightTable(
    family="Bert",
    prefix="bert",
    encoder=(
        *weights.embedding("embeddings/word", "embeddings.word_embeddings"),
        *weights.embedding("embeddings/position", "embeddings.position_embeddings"),
        *weights.embedding("embeddings/token_type", "embeddings.token_type_embeddings"),
        *weights.layer_norm("embeddings/layer_norm", "embeddings.LayerNorm"),
        *weights.layers(
            "encoder.layer.{layer}",
            (
                *weights.dense("attention/query", "attention.self.query"),
                *weights.dense("attention/key", "attention.self.key"),
                *weights.dense("attention/value", "attention.self.value"),
                *weights.dense("attention/output", "attention.output.dense"),
                *weights.layer_norm("attention/layer_norm", "attention.output.LayerNorm"),
                *weights.dense("feed_forward/intermediate", "intermediate.dense"),
                *weights.dense("feed_forward/output", "output.dense"),
                *weights.layer_norm("feed_forward/layer_norm", "output.LayerNorm"),
            ),
            "encoder/layer_{layer}",
        ),
        *weights.dense("pooler", "pooler.dense"),
    ),
    heads=(
        *weights.dense("masked_lm_head/dense", "cls.predictions.transform.dense"),
        *weights.layer_norm("masked_lm_head/layer_norm", "cls.predictions.transform.LayerNorm"),
        *weights.decoder("masked_lm_head/decoder", "cls.predictions.decoder"),
        *weights.bias("masked_lm_head", "cls.predictions", copies=("cls.predictions.decoder",)),
        *weights.output("sentence_head", "cls.seq_relationship", "cls/seq_relationship"),
        *weights.output("classifier", "classifier"),
        *weights.output("qa_outputs", "qa_outputs", "cls/squad"),
    ),
)

FAMILY = Family(
    config=BertConfig,
    weights=_WEIGHTS,
    distinctive_keys=frozenset({"hidden_size", "num_attention_heads", "num_hidden_layers", "type_vocab_size"}),
)
