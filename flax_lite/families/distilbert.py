"""DistilBERT: half of BERT's layers, distilled from BERT (Sanh et al., 2019, arXiv:1910.01108)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from flax_lite.architecture import weights
from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import Family
from flax_lite.architecture.weights import sinusoidal_positions
from flax_lite.files.names import CONFIG
from flax_lite.files.settings import Table, inert


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilBertConfig(EncoderConfig):
    """Configuration of a DistilBERT encoder; defaults are Hugging Face's, which are distilbert-base-uncased.

    It has no token types and no pooler: `token_type_ids` passed to a DistilBERT model are ignored. The epsilon of
    LayerNorm is fixed.

    Attributes:
        classifier_dropout_prob: `seq_classif_dropout` in config.json.
        qa_dropout_prob: rate before the question-answering head, `qa_dropout` in config.json.
    """

    model_type: ClassVar[str] = "distilbert"
    has_pooler: ClassVar[bool] = False
    has_attention_output_dropout: ClassVar[bool] = False
    json_names: ClassVar[Mapping[str, str]] = {
        "vocab_size": "vocab_size",
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "classifier_dropout_prob": "seq_classif_dropout",
        "qa_dropout_prob": "qa_dropout",
        "max_position_embeddings": "max_position_embeddings",
        "initializer_range": "initializer_range",
        "sinusoidal_positions": "sinusoidal_pos_embds",
        "tie_word_embeddings": "tie_word_embeddings",
        "pad_token_id": "pad_token_id",
        "problem_type": "problem_type",
    }
    json_synonyms: ClassVar[Mapping[str, str]] = {
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
    }
    json_settings: ClassVar[Table] = {
        **inert("tie_weights_", why="transformers reads `tie_word_embeddings`"),
        **inert("position_embedding_type", why="`sinusoidal_pos_embds` selects the kind of positions"),
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "distilbert-base-uncased": {},
        "distilbert-base-cased": {"vocab_size": 28996},
        "distilbert-base-multilingual-cased": {"vocab_size": 119547},
    }

    vocab_size: int = 30522
    embedding_size: int = dataclasses.field(init=False)
    hidden_size: int = 768
    num_hidden_layers: int = 6
    num_hidden_groups: int = dataclasses.field(init=False)
    inner_group_num: int = dataclasses.field(init=False, default=1)
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout_prob: float | None = 0.2
    qa_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = dataclasses.field(init=False, default=0)
    initializer_range: float = 0.02
    layer_norm_eps: float = dataclasses.field(init=False, default=1e-12)
    sinusoidal_positions: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "embedding_size", self.hidden_size)
        object.__setattr__(self, "num_hidden_groups", self.num_hidden_layers)
        super().__post_init__()

    @property
    def token_dropout_prob(self) -> float:
        """Dropout rate between the last hidden state and a token classifier."""
        return self.hidden_dropout_prob

    @property
    def span_dropout_prob(self) -> float:
        """Dropout rate between the last hidden state and a span head."""
        return self.qa_dropout_prob

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any], file: str = CONFIG) -> Self:
        """As the base class, without `tie_weights_`, which could contradict `tie_word_embeddings` when written."""
        return super().from_json_dict({key: value for key, value in values.items() if key != "tie_weights_"}, file)


# Columns: parameter path, Hugging Face module; Google released no DistilBERT.
_WEIGHTS = weights.WeightTable(
    family="DistilBert",
    prefix="distilbert",
    encoder=(
        *weights.embedding("embeddings/word", "embeddings.word_embeddings"),
        *weights.embedding("embeddings/position", "embeddings.position_embeddings", formula=sinusoidal_positions),
        *weights.layer_norm("embeddings/layer_norm", "embeddings.LayerNorm"),
        *weights.layers(
            "transformer.layer.{layer}",
            (
                *weights.dense("attention/query", "attention.q_lin"),
                *weights.dense("attention/key", "attention.k_lin"),
                *weights.dense("attention/value", "attention.v_lin"),
                *weights.dense("attention/output", "attention.out_lin"),
                *weights.layer_norm("attention/layer_norm", "sa_layer_norm"),
                *weights.dense("feed_forward/intermediate", "ffn.lin1"),
                *weights.dense("feed_forward/output", "ffn.lin2"),
                *weights.layer_norm("feed_forward/layer_norm", "output_layer_norm"),
            ),
        ),
    ),
    heads=(
        *weights.dense("masked_lm_head/dense", "vocab_transform"),
        *weights.layer_norm("masked_lm_head/layer_norm", "vocab_layer_norm"),
        *weights.decoder("masked_lm_head/decoder", "vocab_projector"),
        *weights.bias("masked_lm_head", "vocab_projector"),
        *weights.dense("pre_classifier", "pre_classifier"),
        *weights.dense("classifier", "classifier"),
        *weights.dense("qa_outputs", "qa_outputs"),
    ),
)

FAMILY = Family(config=DistilBertConfig, weights=_WEIGHTS, distinctive_keys=frozenset({"dim", "n_heads", "n_layers"}))
