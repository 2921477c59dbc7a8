"""The task models: an encoder with a head, for any of the three families."""

import abc
import dataclasses
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.activations import ACTIVATION_FUNCTIONS
from flax_lite.layers.dense import linear
from flax_lite.layers.dropout import dropout, split_key
from flax_lite.layers.execution import Execution
from flax_lite.layers.kernels import einsum_f32
from flax_lite.layers.normalization import layer_norm
from flax_lite.models.encoder import Encoder
from flax_lite.models.outputs import (
    ClassifierOutput,
    EncoderOutput,
    MaskedLMOutput,
    ModelOutput,
    PreTrainingOutput,
    QuestionAnsweringOutput,
)
from flax_lite.models.pretrained import Pretrained

OutputT = TypeVar("OutputT", bound=ModelOutput)


class MaskedLMHead(nnx.Module):
    """LayerNorm(act(x W + b)) times the transposed word embeddings (if tied) or a decoder kernel, plus a bias."""

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.dense = linear(config.hidden_size, config.embedding_size, config, execution, rngs=rngs)
        self.layer_norm = layer_norm(config.embedding_size, config, execution, rngs=rngs)
        if not config.tie_word_embeddings:
            self.decoder = nnx.Linear(
                config.embedding_size,
                config.vocab_size,
                use_bias=False,
                kernel_init=jax.nn.initializers.truncated_normal(stddev=config.initializer_range),
                rngs=rngs,
            )
        self.bias = nnx.Param(jnp.zeros(config.vocab_size))

    def __call__(
        self,
        hidden: Float[Array, "B P D"],
        word_embedding: Float[Array, "V E"],
    ) -> Float[Array, "B P V"]:
        """Returns the logits over the vocabulary, in float32."""
        x = self.layer_norm(ACTIVATION_FUNCTIONS[self.config.hidden_act](self.dense(hidden)))
        table = word_embedding if self.config.tie_word_embeddings else self.decoder.kernel[...].T
        logits = einsum_f32("BPE,VE->BPV", x, table.astype(x.dtype))
        return logits + self.bias[...]


class TaskModel(Pretrained, nnx.Module, Generic[OutputT]):
    """An encoder with a head. `key=None` at a call is deterministic; a PRNG key turns dropout on."""

    needs_pooler: bool = False
    predicts_words: bool = False

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        """Creates a model with random parameters; arguments as for Encoder."""
        self.config = config
        self.encoder = Encoder(config, rngs=rngs, execution=execution, add_pooler=self.needs_pooler)
        self.execution = self.encoder.execution

    def __call__(
        self,
        input_ids: Int[Array, "B *choices T"],
        attention_mask: Shaped[Array, "B *choices T"] | None = None,
        token_type_ids: Int[Array, "B *choices T"] | None = None,
        position_ids: Int[Array, "B *choices T"] | None = None,
        segment_ids: Int[Array, "B *choices T"] | None = None,
        key: jax.Array | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        capture: tuple[str, ...] = (),
        capture_layers: tuple[int, ...] = (),
        masked_positions: Int[Array, "B P"] | None = None,
    ) -> OutputT:
        """Runs the encoder and the head. `key=None` is deterministic; a PRNG key turns dropout on.

        Args are those of Encoder, in [B, T] (MultipleChoice: [B, choices, T]). Masked-LM heads also take
        `masked_positions` [B, P] and then compute logits of these positions only, so that no array of B * T * V
        elements exists.

        Raises:
            ValueError: as Encoder, or for `masked_positions` with another head.
        """
        if masked_positions is not None and not self.predicts_words:
            raise ValueError(f"{type(self).__name__} takes no masked_positions; PreTraining and MaskedLM do")
        encoder_key, head_key = split_key(key, 2)
        encoded = self.encoder(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            segment_ids,
            encoder_key,
            output_hidden_states,
            output_attentions,
            capture,
            capture_layers,
        )
        tokens = encoded.last_hidden_state
        if masked_positions is not None:
            tokens = jnp.take_along_axis(tokens, masked_positions[:, :, None], axis=1)
        with jax.named_scope("head"):
            return self._head(encoded, tokens, head_key)

    @abc.abstractmethod
    def _head(self, encoded: EncoderOutput, tokens: Float[Array, "B P D"], key: jax.Array | None) -> OutputT:
        """Computes the output; `tokens` is the last hidden state, at the masked positions if they are given."""


def _common(encoded: EncoderOutput) -> dict[str, Any]:
    return {"hidden_states": encoded.hidden_states, "attentions": encoded.attentions, "captured": encoded.captured}


class _WordPredictor(TaskModel[OutputT]):
    """A task model with a masked-LM head."""

    masked_lm_head: MaskedLMHead
    predicts_words = True

    def word_logits(self, tokens: Float[Array, "B P D"]) -> Float[Array, "B P V"]:
        """Returns the logits over the vocabulary of tokens' last hidden states, in float32."""
        return self.masked_lm_head(tokens, self.encoder.embeddings.word.embedding[...])


class PreTraining(_WordPredictor[PreTrainingOutput]):
    """Masked-LM head and sentence head: sentence order for ALBERT, next sentence for BERT.

    Labels of the sentence tasks: 0 for in order (is next), 1 for swapped (random). There is no dropout before the
    sentence head, as in Google's code; Hugging Face applies ALBERT's classifier dropout there.

    Raises:
        ValueError: for DistilBERT, which has no sentence task.
    """

    needs_pooler = True

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        """Creates a model with random parameters; arguments as for Encoder."""
        if not config.has_pooler:
            raise ValueError(f"{config.model_type} has no sentence task; use MaskedLM, or pretrain ALBERT or BERT")
        super().__init__(config, rngs=rngs, execution=execution)
        self.masked_lm_head = MaskedLMHead(config, self.execution, rngs=rngs)
        self.sentence_head = linear(config.hidden_size, 2, config, self.execution, rngs=rngs)

    def _head(self, encoded: EncoderOutput, tokens: Float[Array, "B P D"], key: jax.Array | None) -> PreTrainingOutput:
        if encoded.pooler_output is None:
            raise ValueError("the sentence head needs a pooled output")
        sentence_logits = self.sentence_head(encoded.pooler_output).astype(jnp.float32)
        sentence_field = "sop_logits" if self.config.model_type == "albert" else "seq_relationship_logits"
        return PreTrainingOutput(
            prediction_logits=self.word_logits(tokens),
            **{sentence_field: sentence_logits},
            **_common(encoded),
        )


class MaskedLM(_WordPredictor[MaskedLMOutput]):
    """Masked-LM head; takes `masked_positions`."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        """Creates a model with random parameters; arguments as for Encoder."""
        super().__init__(config, rngs=rngs, execution=execution)
        self.masked_lm_head = MaskedLMHead(config, self.execution, rngs=rngs)

    def _head(self, encoded: EncoderOutput, tokens: Float[Array, "B P D"], key: jax.Array | None) -> MaskedLMOutput:
        return MaskedLMOutput(logits=self.word_logits(tokens), **_common(encoded))


class _PooledClassifier(TaskModel[ClassifierOutput]):
    """Dense(dropout(pooled)); DistilBERT pools by ReLU(Dense(token 0)), `pre_classifier`."""

    needs_pooler = True

    def _make_classifier(self, num_outputs: int, rngs: nnx.Rngs) -> None:
        width = self.config.hidden_size
        if not self.config.has_pooler:
            self.pre_classifier = linear(width, width, self.config, self.execution, rngs=rngs)
        self.classifier = linear(width, num_outputs, self.config, self.execution, rngs=rngs)

    def _classify(self, encoded: EncoderOutput, key: jax.Array | None) -> Float[Array, "B outputs"]:
        pooled = encoded.pooler_output
        if pooled is None:
            pooled = jax.nn.relu(self.pre_classifier(encoded.last_hidden_state[:, 0]))
        return self.classifier(dropout(pooled, self.config.pooled_dropout_prob, key)).astype(jnp.float32)


class SequenceClassification(_PooledClassifier):
    """Logits over the labels for each row."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        """Creates a model with random parameters; arguments as for Encoder."""
        super().__init__(config, rngs=rngs, execution=execution)
        self._make_classifier(config.num_labels, rngs)

    def _head(self, encoded: EncoderOutput, tokens: Float[Array, "B P D"], key: jax.Array | None) -> ClassifierOutput:
        return ClassifierOutput(logits=self._classify(encoded, key), **_common(encoded))


class MultipleChoice(_PooledClassifier):
    """One logit for each choice. Inputs are [B, choices, T]; hidden states and attentions have B * choices rows."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        """Creates a model with random parameters; arguments as for Encoder."""
        super().__init__(config, rngs=rngs, execution=execution)
        self._make_classifier(1, rngs)

    def __call__(
        self,
        input_ids: Int[Array, "B choices T"],
        attention_mask: Shaped[Array, "B choices T"] | None = None,
        token_type_ids: Int[Array, "B choices T"] | None = None,
        position_ids: Int[Array, "B choices T"] | None = None,
        segment_ids: Int[Array, "B choices T"] | None = None,
        key: jax.Array | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        capture: tuple[str, ...] = (),
        capture_layers: tuple[int, ...] = (),
        masked_positions: Int[Array, "B P"] | None = None,
    ) -> ClassifierOutput:
        """Runs the encoder on every choice, as TaskModel; logits are [B, choices]."""

        def rows(array: Array | None) -> Array | None:
            return None if array is None else array.reshape(-1, array.shape[-1])

        output = super().__call__(
            input_ids.reshape(-1, input_ids.shape[-1]),
            rows(attention_mask),
            rows(token_type_ids),
            rows(position_ids),
            rows(segment_ids),
            key,
            output_hidden_states,
            output_attentions,
            capture,
            capture_layers,
            masked_positions,
        )
        return dataclasses.replace(output, logits=output.logits.reshape(input_ids.shape[:2]))

    def _head(self, encoded: EncoderOutput, tokens: Float[Array, "B P D"], key: jax.Array | None) -> ClassifierOutput:
        return ClassifierOutput(logits=self._classify(encoded, key), **_common(encoded))


class TokenClassification(TaskModel[ClassifierOutput]):
    """Logits over the labels for each token."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        """Creates a model with random parameters; arguments as for Encoder."""
        super().__init__(config, rngs=rngs, execution=execution)
        self.classifier = linear(config.hidden_size, config.num_labels, config, self.execution, rngs=rngs)

    def _head(self, encoded: EncoderOutput, tokens: Float[Array, "B P D"], key: jax.Array | None) -> ClassifierOutput:
        hidden = dropout(tokens, self.config.token_dropout_prob, key)
        return ClassifierOutput(logits=self.classifier(hidden).astype(jnp.float32), **_common(encoded))


class QuestionAnswering(TaskModel[QuestionAnsweringOutput]):
    """Logits of each token to be the start and the end of an answer span."""

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        """Creates a model with random parameters; arguments as for Encoder."""
        super().__init__(config, rngs=rngs, execution=execution)
        self.qa_outputs = linear(config.hidden_size, 2, config, self.execution, rngs=rngs)

    def _head(
        self, encoded: EncoderOutput, tokens: Float[Array, "B P D"], key: jax.Array | None
    ) -> QuestionAnsweringOutput:
        hidden = dropout(tokens, self.config.span_dropout_prob, key)
        logits = self.qa_outputs(hidden).astype(jnp.float32)
        return QuestionAnsweringOutput(start_logits=logits[..., 0], end_logits=logits[..., 1], **_common(encoded))
