"""The encoder: BERT, ALBERT and DistilBERT are one post-LayerNorm encoder with three configurations."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.attention import attention_visibility
from flax_lite.layers.capture import CaptureSpec
from flax_lite.layers.dense import linear
from flax_lite.layers.dropout import split_key
from flax_lite.layers.embeddings import Embeddings
from flax_lite.layers.execution import Execution
from flax_lite.layers.stack import make_layers, run_layers
from flax_lite.models.outputs import EncoderOutput
from flax_lite.models.pretrained import Pretrained


class Encoder(Pretrained, nnx.Module):
    """Maps token ids to hidden states. `key=None` at a call is deterministic; a PRNG key turns dropout on.

    The module holds parameters only, no random state, and is a pytree: it can be passed through jax.jit, grad, vmap and
    shard_map as well as nnx.jit, nnx.value_and_grad and nnx.Optimizer.

    The families differ in fields of the config: ALBERT projects embeddings of width E to D and shares its layers over
    the depth; DistilBERT has no token types (given ones are ignored) and no pooler.

    Source: Devlin et al. 2019 (arXiv:1810.04805); Lan et al. 2020 (arXiv:1909.11942); Sanh et al. 2019
        (arXiv:1910.01108).
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        rngs: nnx.Rngs,
        execution: Execution | None = None,
        add_pooler: bool = True,
    ) -> None:
        """Creates an encoder with random parameters.

        Args:
            config: the architecture.
            rngs: source of the initial values (stream "params").
            execution: execution config; by default float32 and scanned.
            add_pooler: whether to create the pooler, if the family has one.
        """
        execution = (execution or Execution()).resolve(len(config.layer_sequence()))
        self.config = config
        self.execution = execution
        self.embeddings = Embeddings(config, execution, rngs=rngs)
        layers = make_layers(config, execution, rngs=rngs)
        if config.num_physical_layers == 1:
            self.layer = layers
        else:
            self.layers = layers
        self.has_pooler = config.has_pooler and add_pooler
        if self.has_pooler:
            self.pooler = linear(config.hidden_size, config.hidden_size, config, execution, rngs=rngs)

    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        attention_mask: Shaped[Array, "B T"] | None = None,
        token_type_ids: Int[Array, "B T"] | None = None,
        position_ids: Int[Array, "B T"] | None = None,
        segment_ids: Int[Array, "B T"] | None = None,
        key: jax.Array | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        capture: tuple[str, ...] = (),
        capture_layers: tuple[int, ...] = (),
    ) -> EncoderOutput:
        """Encodes a batch. `key=None` is deterministic; a PRNG key turns dropout on.

        An id outside its table makes its row NaN: see `flax_lite.layers.embeddings.Embeddings`.

        Args:
            input_ids: token ids.
            attention_mask: non-zero for real tokens; None for no padding.
            token_type_ids: token type of each token; zeros if None.
            position_ids: position of each token; 0 to T-1 if None.
            segment_ids: number of the text that each token of a packed row belongs to: attention is block-diagonal.
            key: PRNG key of this call's dropout.
            output_hidden_states: whether to return the input of the layers and every layer's output.
            output_attentions: whether to return every layer's attention probabilities.
            capture: values to return of `capture_layers`, out of "scores", "queries", "keys", "values", "outputs".
            capture_layers: layers counted from 0, negative from the end.

        Raises:
            ValueError: for rows longer than `max_position_embeddings`, or an unknown capture or layer.
        """
        spec = CaptureSpec(output_hidden_states, output_attentions, tuple(capture), tuple(capture_layers))
        embeddings_key, layers_key = split_key(key, 2)
        with jax.named_scope("embeddings"):
            embedded = self.embeddings(input_ids, token_type_ids, position_ids, key=embeddings_key)
        mask = attention_visibility(attention_mask, segment_ids)
        layers = self.layer if self.config.num_physical_layers == 1 else self.layers
        last, captured = run_layers(layers, self.config, self.execution, embedded, mask, key=layers_key, capture=spec)
        hidden_states = None
        if output_hidden_states:
            hidden_states = jnp.concatenate([embedded[None], captured["hidden_states"]])
        return EncoderOutput(
            last_hidden_state=last,
            embedding_output=embedded,
            pooler_output=self._pool(last) if self.has_pooler else None,
            hidden_states=hidden_states,
            attentions=captured["attentions"] if output_attentions else None,
            captured={name: captured[name] for name in spec.names},
        )

    def _pool(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B D"]:
        with jax.named_scope("pooler"):
            return jnp.tanh(self.pooler(hidden[:, 0]))
