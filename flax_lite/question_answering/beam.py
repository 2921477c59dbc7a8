"""ALBERT's head for SQuAD 2: scores the ends for each of the best starts, and whether there is an answer."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int, Shaped

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.dense import linear
from flax_lite.layers.dropout import dropout, split_key
from flax_lite.layers.execution import Execution
from flax_lite.layers.transformer import layer_norm
from flax_lite.models.encoder import Encoder
from flax_lite.models.outputs import ModelOutput
from flax_lite.question_answering.beam_files import BeamPretrained
from flax_lite.training.losses import cross_entropy, weighted_sum
from flax_lite.training.objective import Batch, Objective, Sums, model_inputs

# From google-research/albert, run_squad_v2.py: the logit of tokens that are not allowed, the number of starts and of
# ends per start that are kept, and the dropout of the head, which no config has.
_MASKED_LOGIT = -1e30
_BEAM = 5
_DROPOUT = 0.1


@struct.dataclass
class BeamAnswersOutput(ModelOutput):
    """Output of BeamQuestionAnswering.

    At inference it has K starts with M ends each; if starts were given, it has the end logits of all tokens instead.

    Attributes:
        null_logits: logit of "no answer" for each row.
        start_logits: logit of each token as the start; -1e30 for tokens that are not allowed.
        end_logits: logit of each token as the end, given the start; None if no starts were given.
        start_tokens: the K most likely starts, best first; this and the fields below are None if starts were given.
        start_log_probs: their log probabilities over all tokens.
        end_tokens: the M most likely ends for each start, best first.
        end_log_probs: their log probabilities given that start.
    """

    null_logits: Float[Array, "B"] = struct.field(kw_only=True)
    start_logits: Float[Array, "B T"] = struct.field(kw_only=True)
    end_logits: Float[Array, "B T"] | None = None
    start_tokens: Int[Array, "B K"] | None = None
    start_log_probs: Float[Array, "B K"] | None = None
    end_tokens: Int[Array, "B K M"] | None = None
    end_log_probs: Float[Array, "B K M"] | None = None


def answer_tokens(attention_mask: Shaped[Array, "B T"], token_type_ids: Int[Array, "B T"]) -> Bool[Array, "B T"]:
    """Returns which tokens of rows [CLS] question [SEP] context [SEP] may be in an answer: the context and [CLS].

    [CLS] means that there is no answer.

    Args:
        attention_mask: non-zero for tokens; padding is at the end.
        token_type_ids: 1 from the context on.
    """
    real = attention_mask != 0
    positions = jnp.arange(real.shape[1])
    last = jnp.sum(real, axis=1, keepdims=True) - 1
    return (positions == 0) | (real & (token_type_ids == 1) & (positions < last))


class BeamHead(nnx.Module):
    """Scores of starts, of ends given a start, and of "no answer".

    With token states h_t, learned vectors w, v, u and matrices W, U:

        start_t = w h_t
        end_t = v LayerNorm(tanh(W [h_t, h_start]))
        null = u tanh(U [sum_t softmax(start)_t h_t, h_CLS])

    Source: google-research/albert, run_squad_v2.py; the head is XLNet's (Yang et al. 2019, arXiv:1906.08237).
    """

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        width = config.hidden_size
        self.start = linear(width, 1, config, execution, rngs=rngs)
        self.end_hidden = linear(2 * width, width, config, execution, rngs=rngs)
        self.end_norm = layer_norm(width, config, execution, rngs=rngs)
        self.end = linear(width, 1, config, execution, rngs=rngs)
        self.null_hidden = linear(2 * width, width, config, execution, rngs=rngs)
        self.null = nnx.Linear(
            width,
            1,
            use_bias=False,
            kernel_init=jax.nn.initializers.truncated_normal(stddev=config.initializer_range),
            dtype=execution.compute_dtype,
            rngs=rngs,
        )

    def start_logits(self, tokens: Float[Array, "B T D"], allowed: Bool[Array, "B T"]) -> Float[Array, "B T"]:
        """Returns the logit of each token as the start, in float32."""
        return _masked(self.start(tokens)[..., 0], allowed)

    def end_logits(
        self, tokens: Float[Array, "B T D"], starts: Int[Array, "B K"], allowed: Bool[Array, "B T"]
    ) -> Float[Array, "B K T"]:
        """Returns the logit of each token as the end, given each of the starts, in float32."""
        width = tokens.shape[-1]
        chosen = jnp.take_along_axis(tokens, starts[:, :, None], axis=1)
        # W [h_t, h_start] = W_1 h_t + W_2 h_start, so that W_1 h_t is computed once for all starts.
        kernel, bias = (getattr(self.end_hidden, name)[...].astype(tokens.dtype) for name in ("kernel", "bias"))
        hidden = (tokens @ kernel[:width])[:, None] + (chosen @ kernel[width:])[:, :, None] + bias
        return _masked(self.end(self.end_norm(jnp.tanh(hidden)))[..., 0], allowed[:, None])

    def null_logits(
        self, tokens: Float[Array, "B T D"], start_logits: Float[Array, "B T"], key: jax.Array | None
    ) -> Float[Array, "B"]:
        """Returns the logit of "no answer", in float32."""
        start_probs = jax.nn.softmax(start_logits, axis=-1).astype(tokens.dtype)
        summary = jnp.concatenate([jnp.einsum("BT,BTD->BD", start_probs, tokens), tokens[:, 0]], axis=-1)
        hidden = dropout(jnp.tanh(self.null_hidden(summary)), _DROPOUT, key)
        return self.null(hidden)[:, 0].astype(jnp.float32)


def _masked(logits: Float[Array, "*axes T"], allowed: Bool[Array, "*#axes T"]) -> Float[Array, "*axes T"]:
    return jnp.where(allowed, logits.astype(jnp.float32), _MASKED_LOGIT)


class BeamQuestionAnswering(BeamPretrained, nnx.Module):
    """An encoder with ALBERT's SQuAD 2 head. `key=None` at a call is deterministic; a PRNG key enables dropout.

    Hugging Face has no class with this head for these encoders, so it is saved in a separate file beside the encoder,
    which any tool opens.
    """

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        """Creates a model with random parameters; the arguments are those of Encoder."""
        self.config = config
        self.encoder = Encoder(config, rngs=rngs, execution=execution, add_pooler=False)
        self.execution = self.encoder.execution
        self.head = BeamHead(config, self.execution, rngs=rngs)

    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        attention_mask: Shaped[Array, "B T"] | None = None,
        token_type_ids: Int[Array, "B T"] | None = None,
        position_ids: Int[Array, "B T"] | None = None,
        key: jax.Array | None = None,
        *,
        starts: Int[Array, "B"] | None = None,
        beam: int = _BEAM,
        **requests: Any,
    ) -> BeamAnswersOutput:
        """Runs the encoder and the head. `key=None` is deterministic; a PRNG key enables dropout.

        Args:
            input_ids: rows [CLS] question [SEP] context [SEP].
            attention_mask: non-zero for real tokens; None for no padding.
            token_type_ids: 1 from the context on, also for an encoder without token types: they mark the tokens that
                may be in an answer.
            position_ids: as for Encoder.
            key: PRNG key for the dropout of this call.
            starts: start token of each answer, 0 for no answer; ends are then scored given these starts, as in
                training.
            beam: K and M, the number of starts, and of ends per start, to keep if no starts are given; limited to the
                number of tokens.
            requests: `output_hidden_states`, `output_attentions`, `capture`, `capture_layers`, as for Encoder.

        Raises:
            ValueError: without token types, for a beam below 1, or as Encoder.
        """
        if token_type_ids is None:
            raise ValueError("BeamQuestionAnswering needs token_type_ids: they say which tokens are the context")
        if beam < 1:
            raise ValueError(f"beam={beam}; expected at least 1")
        encoder_key, head_key = split_key(key, 2)
        encoded = self.encoder(input_ids, attention_mask, token_type_ids, position_ids, key=encoder_key, **requests)
        mask = jnp.ones_like(input_ids) if attention_mask is None else attention_mask
        allowed, tokens = answer_tokens(mask, token_type_ids), encoded.last_hidden_state
        with jax.named_scope("head"):
            start_logits = self.head.start_logits(tokens, allowed)
            if starts is None:
                ends = self._beams(tokens, start_logits, allowed, min(beam, tokens.shape[1]))
            else:
                ends = {"end_logits": self.head.end_logits(tokens, starts[:, None], allowed)[:, 0]}
            null_logits = self.head.null_logits(tokens, start_logits, head_key)
        return BeamAnswersOutput(
            null_logits=null_logits,
            start_logits=start_logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            captured=encoded.captured,
            **ends,
        )

    def _beams(
        self, tokens: Float[Array, "B T D"], start_logits: Float[Array, "B T"], allowed: Bool[Array, "B T"], beam: int
    ) -> dict[str, Array]:
        start_log_probs, start_tokens = jax.lax.top_k(jax.nn.log_softmax(start_logits), beam)
        end_logits = self.head.end_logits(tokens, start_tokens, allowed)
        end_log_probs, end_tokens = jax.lax.top_k(jax.nn.log_softmax(end_logits), beam)
        return {
            "start_tokens": start_tokens,
            "start_log_probs": start_log_probs,
            "end_tokens": end_tokens,
            "end_log_probs": end_log_probs,
        }


def beam_objective() -> Objective:
    """Returns the objective (L_start + L_end) / 2 + L_null / 2.

    L_end is given the correct start, and L_null is a sigmoid cross-entropy. Batches are those of the question-answering
    task: input_ids, attention_mask, token_type_ids [B, T]; starts, ends [B], both 0 if the row has no answer;
    row_weights [B].

    Source: google-research/albert, run_squad_v2.py.
    """
    losses = ("start_loss", "end_loss", "null_loss")

    def sums(model: BeamQuestionAnswering, batch: Batch, key: jax.Array | None) -> Sums:
        starts, ends, weights = batch["starts"], batch["ends"], batch["row_weights"]
        output = model(**model_inputs(batch), key=key, starts=starts)
        assert output.end_logits is not None, "starts are given"
        no_answer = starts == 0
        row_losses = (
            cross_entropy(output.start_logits, starts),
            cross_entropy(output.end_logits, ends),
            jax.nn.softplus(output.null_logits) - output.null_logits * no_answer,
        )
        totals = (weighted_sum(loss, weights) for loss in row_losses)
        correct = jnp.sum(weights * ((output.null_logits > 0) == no_answer))
        return {**dict(zip(losses, totals, strict=True)), "null_accuracy": correct}

    def weights(batch: Batch) -> Sums:
        return dict.fromkeys((*losses, "null_accuracy"), jnp.sum(batch["row_weights"]))

    return Objective((*losses, "null_accuracy"), sums, weights, dict.fromkeys(losses, 0.5))
