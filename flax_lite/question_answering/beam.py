"""ALBERT's head for SQuAD 2: ends are sought behind a few starts, and whether there is an answer is learned."""

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

# run_squad_v2.py of google-research/albert: the logit of a token that is no candidate, starts and ends for each start
# that are kept, and the head's own dropout, which no config holds.
_NOWHERE = -1e30
_BEAM = 5
_DROPOUT = 0.1


@struct.dataclass
class BeamAnswersOutput(ModelOutput):
    """Output of BeamQuestionAnswering: K starts with M ends each, or, behind starts that were given, all ends.

    Attributes:
        null_logits: of "no answer" against "an answer", one for each row.
        start_logits: of every token; -1e30 where none may start.
        end_logits: of every token behind the given start; None where none was given, and then the others are not.
        start_tokens: the likeliest starts, best first.
        start_log_probs: their logarithmic probabilities among all tokens.
        end_tokens: the likeliest ends behind each start, best first.
        end_log_probs: their logarithmic probabilities behind that start.
    """

    null_logits: Float[Array, "B"] = struct.field(kw_only=True)
    start_logits: Float[Array, "B T"] = struct.field(kw_only=True)
    end_logits: Float[Array, "B T"] | None = None
    start_tokens: Int[Array, "B K"] | None = None
    start_log_probs: Float[Array, "B K"] | None = None
    end_tokens: Int[Array, "B K M"] | None = None
    end_log_probs: Float[Array, "B K M"] | None = None


def answer_tokens(attention_mask: Shaped[Array, "B T"], token_type_ids: Int[Array, "B T"]) -> Bool[Array, "B T"]:
    """Where an answer may start or end in rows [CLS] question [SEP] context [SEP]: the context, and [CLS] for none.

    Args:
        attention_mask: non-zero for tokens, which padding follows.
        token_type_ids: 1 from the context on.
    """
    real = attention_mask != 0
    positions = jnp.arange(real.shape[1])
    last = jnp.sum(real, axis=1, keepdims=True) - 1
    return (positions == 0) | (real & (token_type_ids == 1) & (positions < last))


class BeamHead(nnx.Module):
    """Scores of starts, of ends behind a start, and of "no answer".

    start_t = w h_t; end_t = v LayerNorm(tanh(W [h_t, h_start])); null = u tanh(U [sum_t softmax(start)_t h_t, h_CLS])

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
        """Score of each token as a start, in float32."""
        return _masked(self.start(tokens)[..., 0], allowed)

    def end_logits(
        self, tokens: Float[Array, "B T D"], starts: Int[Array, "B K"], allowed: Bool[Array, "B T"]
    ) -> Float[Array, "B K T"]:
        """Score of each token as an end behind each of the starts, in float32."""
        width = tokens.shape[-1]
        chosen = jnp.take_along_axis(tokens, starts[:, :, None], axis=1)
        # W [h_t, h_start] by halves: the states are multiplied once, and not once for each start.
        kernel, bias = (getattr(self.end_hidden, name)[...].astype(tokens.dtype) for name in ("kernel", "bias"))
        hidden = (tokens @ kernel[:width])[:, None] + (chosen @ kernel[width:])[:, :, None] + bias
        return _masked(self.end(self.end_norm(jnp.tanh(hidden)))[..., 0], allowed[:, None])

    def null_logits(
        self, tokens: Float[Array, "B T D"], start_logits: Float[Array, "B T"], key: jax.Array | None
    ) -> Float[Array, "B"]:
        """Score of "no answer", in float32."""
        shares = jax.nn.softmax(start_logits, axis=-1).astype(tokens.dtype)
        summary = jnp.concatenate([jnp.einsum("BT,BTD->BD", shares, tokens), tokens[:, 0]], axis=-1)
        hidden = dropout(jnp.tanh(self.null_hidden(summary)), _DROPOUT, key)
        return self.null(hidden)[:, 0].astype(jnp.float32)


def _masked(logits: Float[Array, "*axes T"], allowed: Bool[Array, "*#axes T"]) -> Float[Array, "*axes T"]:
    return jnp.where(allowed, logits.astype(jnp.float32), _NOWHERE)


class BeamQuestionAnswering(BeamPretrained, nnx.Module):
    """An encoder and ALBERT's SQuAD 2 head. `key=None` at a call is deterministic; a PRNG key turns dropout on.

    No class of Hugging Face has this head for these encoders: it is saved in a file of its own beside an encoder that
    opens anywhere.
    """

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, execution: Execution | None = None) -> None:
        """Creates a model with random parameters; arguments as for Encoder."""
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
        """Runs the encoder and the head. `key=None` is deterministic; a PRNG key turns dropout on.

        Args:
            input_ids: rows [CLS] question [SEP] context [SEP].
            attention_mask: non-zero where a token is real; None means everywhere.
            token_type_ids: 1 from the context on, also for an encoder without token types: they say what may answer.
            position_ids: as for Encoder.
            key: PRNG key of this call's dropout.
            starts: the token each answer starts at, 0 for none: ends are then scored behind it, as training does.
            beam: how many starts, and ends behind each, are kept where none is given; of shorter rows all tokens.
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
    """(L_start + L_end) / 2 + L_null / 2, ends behind the right start, L_null a sigmoid's cross-entropy.

    Batches are those of questions as a task: input_ids, attention_mask, token_type_ids [B, T]; starts, ends [B], both 0
    where the row holds no answer; row_weights [B].

    Source: google-research/albert, run_squad_v2.py.
    """
    losses = ("start_loss", "end_loss", "null_loss")

    def sums(model: BeamQuestionAnswering, batch: Batch, key: jax.Array | None) -> Sums:
        starts, ends, weights = batch["starts"], batch["ends"], batch["row_weights"]
        output = model(**model_inputs(batch), key=key, starts=starts)
        assert output.end_logits is not None, "starts are given"
        no_answer = starts == 0
        elements = (
            cross_entropy(output.start_logits, starts),
            cross_entropy(output.end_logits, ends),
            jax.nn.softplus(output.null_logits) - output.null_logits * no_answer,
        )
        totals = (weighted_sum(each, weights) for each in elements)
        right = jnp.sum(weights * ((output.null_logits > 0) == no_answer))
        return {**dict(zip(losses, totals, strict=True)), "null_accuracy": right}

    def weights(batch: Batch) -> Sums:
        return dict.fromkeys((*losses, "null_accuracy"), jnp.sum(batch["row_weights"]))

    return Objective((*losses, "null_accuracy"), sums, weights, dict.fromkeys(losses, 0.5))
