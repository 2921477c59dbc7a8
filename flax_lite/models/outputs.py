"""Outputs of the models: frozen dataclasses, registered as pytrees."""

from collections.abc import Mapping

from flax import struct
from jaxtyping import Array, Float


@struct.dataclass
class ModelOutput:
    """Optional fields of every output.

    Attributes:
        hidden_states: the input of the layers and each layer's output, [layers + 1, B, T, D]; None unless
            `output_hidden_states`.
        attentions: attention probabilities of each application of a physical layer before dropout, [applications, B, N,
            T, S] with applications = layers * `inner_group_num`; None unless `output_attentions`.
        captured: values selected by `capture`, by name, one row for each of `capture_layers`: "scores" [rows, B, N, T,
            S] (scaled, before the mask), "queries", "keys", "values" [rows, B, T, N, H], "outputs" (hidden states)
            [rows, B, T, D].
    """

    hidden_states: Float[Array, "layers+1 B T D"] | None = None
    attentions: Float[Array, "layers B N T S"] | None = None
    captured: Mapping[str, Array] = struct.field(default_factory=dict)


@struct.dataclass
class EncoderOutput(ModelOutput):
    """Output of Encoder.

    `pooler_output` is tanh(Dense(token 0)), None for DistilBERT or without a pooler; `embedding_output` is the input of
    the first layer.
    """

    last_hidden_state: Float[Array, "B T D"] = struct.field(kw_only=True)
    embedding_output: Float[Array, "B T D"] = struct.field(kw_only=True)
    pooler_output: Float[Array, "B D"] | None = None


@struct.dataclass
class PreTrainingOutput(ModelOutput):
    """Output of PreTraining: logits at every position or at the masked positions, and the family's sentence logits."""

    prediction_logits: Float[Array, "B P V"] = struct.field(kw_only=True)
    sop_logits: Float[Array, "B 2"] | None = None
    seq_relationship_logits: Float[Array, "B 2"] | None = None

    @property
    def sentence_logits(self) -> Float[Array, "B 2"]:
        """Logits of the family's sentence task."""
        logits = self.seq_relationship_logits if self.sop_logits is None else self.sop_logits
        if logits is None:
            raise ValueError("this output has no sentence logits")
        return logits


@struct.dataclass
class MaskedLMOutput(ModelOutput):
    """Output of MaskedLM: logits at every position or at the masked positions."""

    logits: Float[Array, "B P V"] = struct.field(kw_only=True)


@struct.dataclass
class ClassifierOutput(ModelOutput):
    """Output of SequenceClassification [B, labels], TokenClassification [B, T, labels], MultipleChoice [B, choices]."""

    logits: Float[Array, "B *axes"] = struct.field(kw_only=True)


@struct.dataclass
class QuestionAnsweringOutput(ModelOutput):
    """Output of QuestionAnswering: start and end logits."""

    start_logits: Float[Array, "B T"] = struct.field(kw_only=True)
    end_logits: Float[Array, "B T"] = struct.field(kw_only=True)
