"""Architecture configuration: which function a model computes, independent of how it is executed.

One frozen dataclass serves the three families; `flax_lite.families.albert`, `flax_lite.families.bert` and
`flax_lite.families.distilbert` subclass it with their defaults, their presets and their names in Hugging Face's
config.json. Options of execution (dtype, scan, kernels) are in `flax_lite.layers.execution.Execution`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from flax_lite.architecture import checks
from flax_lite.architecture.settings import COMMON
from flax_lite.files.names import CONFIG
from flax_lite.files.settings import Table, check_settings, used

ACTIVATIONS = ("gelu", "gelu_new", "relu")
# Kinds of classification: one label of several, any number of labels, or a number instead of labels.
Problem = Literal["single_label", "multi_label", "regression"]
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
DEFAULT_LABELS = ("LABEL_0", "LABEL_1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A post-LayerNorm encoder of the BERT family.

    Field names are Hugging Face's for BERT and ALBERT; DistilBERT's own names (`dim`, `n_layers`, ...) exist in its
    config.json only. Defaults are those of the family's Hugging Face configuration class, so that a config.json with
    missing keys is read in the same way; for a published size use `from_preset`. Fields that a family does not have are
    fixed by its subclass and cannot be passed.

    Attributes:
        vocab_size: V, number of tokens in the vocabulary.
        embedding_size: E, width of the embedding tables; differs from `hidden_size` in ALBERT only.
        hidden_size: D, width of the encoder.
        num_hidden_layers: depth, the number of layer applications (times `inner_group_num`).
        num_hidden_groups: number of groups of physical layers; equal to the depth where no layers are shared.
        inner_group_num: physical layers in a group, applied in sequence.
        num_attention_heads: N; the head width H is D / N.
        intermediate_size: F, width of the feed-forward layer.
        hidden_act: "gelu" (exact, erf), "gelu_new" (tanh approximation) or "relu".
        hidden_dropout_prob: rate after embeddings, attention output and feed-forward output.
        attention_probs_dropout_prob: rate on attention probabilities.
        classifier_dropout_prob: rate before a classifier; None means `hidden_dropout_prob`.
        max_position_embeddings: longest sequence.
        type_vocab_size: number of segments; 0 where the family has no token types.
        initializer_range: sigma of the truncated normal that kernels and embeddings start from.
        layer_norm_eps: epsilon of every LayerNorm.
        sinusoidal_positions: fixed sinusoidal positions instead of learned ones (DistilBERT only).
        tie_word_embeddings: whether the masked-LM decoder is the word-embedding table.
        pad_token_id: id of the padding token.
        labels: label names in order of their ids.
        problem_type: "regression", "single_label_classification", "multi_label_classification" or None.
        architectures: class names found in config.json, e.g. ("AlbertForMaskedLM",).
        extra: other keys of config.json, kept for writing.
    """

    model_type: ClassVar[str]
    # Keys of the fields in config.json, synonyms that Hugging Face's class also reads, and the other known keys.
    json_names: ClassVar[Mapping[str, str]]
    json_synonyms: ClassVar[Mapping[str, str]] = {}
    json_settings: ClassVar[Table] = {}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    has_pooler: ClassVar[bool] = True
    has_embedding_projection: ClassVar[bool] = False
    has_attention_output_dropout: ClassVar[bool] = True

    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_hidden_layers: int
    num_hidden_groups: int
    inner_group_num: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    classifier_dropout_prob: float | None
    max_position_embeddings: int
    type_vocab_size: int
    initializer_range: float
    layer_norm_eps: float
    sinusoidal_positions: bool
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 0
    labels: tuple[str, ...] = DEFAULT_LABELS
    problem_type: str | None = None
    architectures: tuple[str, ...] = ()
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        checks.check_types_and_sizes(self)
        for name in (field.name for field in dataclasses.fields(self) if field.name.endswith("_dropout_prob")):
            rate = getattr(self, name)
            if rate is not None and not 0.0 <= rate < 1.0:
                raise ValueError(f"{name}={rate} must lie in [0, 1): it is the probability of dropping a value")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}; "
                "choose sizes that divide"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act={self.hidden_act!r} is not known; choose one of {', '.join(ACTIVATIONS)}")
        if self.problem_type not in (None, *PROBLEM_TYPES):
            raise ValueError(
                f"problem_type={self.problem_type!r} is not known; choose one of {', '.join(PROBLEM_TYPES)}, or None"
            )
        if not 1 <= self.num_hidden_groups <= self.num_hidden_layers:
            raise ValueError(
                f"num_hidden_groups={self.num_hidden_groups} must lie between 1 and "
                f"num_hidden_layers={self.num_hidden_layers}"
            )

    @property
    def num_labels(self) -> int:
        """Number of labels of a classification head."""
        return len(self.labels)

    @property
    def id2label(self) -> dict[int, str]:
        """Label names by id."""
        return dict(enumerate(self.labels))

    @property
    def num_physical_layers(self) -> int:
        """Number of layers with parameters of their own."""
        return self.num_hidden_groups * self.inner_group_num

    def layer_sequence(self) -> tuple[int, ...]:
        """Returns the physical layer of each of the `num_hidden_layers * inner_group_num` layer applications, in order.

        The group of layer i is int(i / (layers / groups)), evaluated in floating point as Hugging Face does: where
        groups do not divide the depth, Google's int(i / layers * groups) can differ from it (24 pairs up to 48 layers,
        e.g. 18 layers in 14 groups).
        """
        layers_per_group = self.num_hidden_layers / self.num_hidden_groups
        groups = (int(layer / layers_per_group) for layer in range(self.num_hidden_layers))
        return tuple(group * self.inner_group_num + inner for group in groups for inner in range(self.inner_group_num))

    @property
    def attention_output_dropout_prob(self) -> float:
        """Dropout rate between the attention output and its residual sum (DistilBERT has none)."""
        return self.hidden_dropout_prob if self.has_attention_output_dropout else 0.0

    @property
    def pooled_dropout_prob(self) -> float:
        """Dropout rate between the pooled output and a classifier."""
        return self.hidden_dropout_prob if self.classifier_dropout_prob is None else self.classifier_dropout_prob

    @property
    def token_dropout_prob(self) -> float:
        """Dropout rate between the last hidden state and a token classifier."""
        return self.pooled_dropout_prob

    @property
    def span_dropout_prob(self) -> float:
        """Dropout rate between the last hidden state and a span head."""
        return 0.0

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with the given fields changed."""
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> Self:
        """Returns the configuration of a published checkpoint.

        Args:
            name: e.g. "albert-base-v2"; `cls.presets` lists the names.
            **changes: fields that override the preset's.

        Raises:
            ValueError: if the family has no such preset; the message lists those it has.
        """
        if name not in cls.presets:
            raise ValueError(f"{cls.__name__} has no preset {name!r}; it has {', '.join(cls.presets)}")
        return cls(**{**cls.presets[name], **changes})

    @classmethod
    def json_table(cls) -> Table:
        """Returns how each key of a config.json is treated; other keys are kept in `extra` with one warning."""
        return {**COMMON, **cls.json_settings, **used(*cls.json_names.values(), *cls.json_synonyms)}

    @classmethod
    def from_json_dict(cls, values: Mapping[str, Any], file: str = CONFIG) -> Self:
        """Returns the configuration of a Hugging Face config.json; keys without a field are kept in `extra`.

        If both keys of a field are present, the synonym overrides: Hugging Face's classes apply synonyms last.

        Args:
            values: content of the file.
            file: name of the file in messages.

        Raises:
            ValueError: if it describes another family or an unsupported model (`json_table`), a value has a wrong type
                or is out of range, or the labels are not numbered 0..n-1.
        """
        remaining = dict(values)
        model_type = remaining.pop("model_type", cls.model_type)
        if model_type != cls.model_type:
            raise ValueError(f"{file} describes a {model_type!r} model, {cls.__name__} reads {cls.model_type!r}")
        check_settings(remaining, cls.json_table(), file)
        for synonym, key in cls.json_synonyms.items():
            if synonym in remaining:
                remaining[key] = remaining.pop(synonym)
        fields = {field: remaining.pop(key) for field, key in cls.json_names.items() if key in remaining}
        label_keys = (remaining.pop(key, None) for key in ("id2label", "num_labels", "label2id"))
        try:
            fields["labels"] = checks.labels(*label_keys, default=DEFAULT_LABELS)
            fields["architectures"] = checks.class_names(remaining.pop("architectures", None))
            return cls(**fields, extra=remaining)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    def to_json_dict(self) -> dict[str, Any]:
        """Returns the content of a Hugging Face config.json, including the unknown keys that were read."""
        values = dict(self.extra)
        values["model_type"] = self.model_type
        values.update({key: getattr(self, field) for field, key in self.json_names.items()})
        if self.problem_type is None:
            values.pop("problem_type")
        if self.architectures:
            values["architectures"] = list(self.architectures)
        if self.labels != DEFAULT_LABELS:
            values["id2label"] = {str(index): label for index, label in self.id2label.items()}
            values["label2id"] = {label: index for index, label in self.id2label.items()}
        return values
