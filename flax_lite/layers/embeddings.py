"""The encoder's input: word, position and token type embeddings, and ALBERT's factorized embedding."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.weights import sinusoidal_positions
from flax_lite.layers.dense import linear
from flax_lite.layers.dropout import dropout
from flax_lite.layers.execution import Execution
from flax_lite.layers.kernels import row_major, select_lookup, upcast
from flax_lite.layers.normalization import layer_norm

# Largest table of token types for `select_lookup`, whose program grows with the table.
_MAX_SELECT_ROWS = 8


def embedding_table(num_rows: int, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> nnx.Embed:
    """Creates an embedding table [num_rows, E] as BERT initializes it: truncated normal."""
    embedding_init = jax.nn.initializers.truncated_normal(stddev=config.initializer_range)
    return nnx.Embed(
        num_rows, config.embedding_size, embedding_init=embedding_init, dtype=execution.compute_dtype, rngs=rngs
    )


def embedding_lookup(table: Float[Array, "rows E"], ids: Int[Array, "B T"]) -> Float[Array, "B T E"]:
    """Returns table[ids] in float32: NaN for an id from the number of rows on; -1 is the last row.

    In float32 because the gradient of a row sums over all its tokens: in bfloat16 a sum stops growing at 256 times an
    addend, and a GPU adds bfloat16 atomically by retrying.
    """
    return jnp.take(upcast(table), ids, axis=0)


class Embeddings(nnx.Module):
    """dropout(LayerNorm(word + position + token type)), then ALBERT's Dense from E to D (bias, no activation).

    Source: Devlin et al. 2019 (arXiv:1810.04805), section 3; Lan et al. 2020 (arXiv:1909.11942), section 3.1,
        factorized embedding parameterization.
    """

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.execution = execution
        self.word = embedding_table(config.vocab_size, config, execution, rngs=rngs)
        if not config.sinusoidal_positions:
            self.position = embedding_table(config.max_position_embeddings, config, execution, rngs=rngs)
        if config.type_vocab_size:
            self.token_type = embedding_table(config.type_vocab_size, config, execution, rngs=rngs)
        self.layer_norm = layer_norm(config.embedding_size, config, execution, rngs=rngs)
        if config.has_embedding_projection:
            self.projection = linear(config.embedding_size, config.hidden_size, config, execution, rngs=rngs)

    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        token_type_ids: Int[Array, "B T"] | None = None,
        position_ids: Int[Array, "B T"] | None = None,
        *,
        key: jax.Array | None = None,
    ) -> Float[Array, "B T D"]:
        """Embeds a batch; `key=None` is deterministic.

        A compiled program cannot raise an error for an id outside its table. Such a word, position or token type makes
        its token NaN, and through attention the whole row; a negative word or position counts from the table's end.
        Check ids beforehand, as `flax_lite.pipeline` does.

        Raises:
            ValueError: if rows are longer than `max_position_embeddings` and no `position_ids` are given.
        """
        positions = self._positions(input_ids, position_ids)
        if key is not None:
            positions = row_major(jnp.broadcast_to(positions, (*input_ids.shape, self.config.embedding_size)))
        x = embedding_lookup(self.word.embedding[...], input_ids) + positions
        if self.config.type_vocab_size:
            types = jnp.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            lookup = select_lookup if self.config.type_vocab_size <= _MAX_SELECT_ROWS else embedding_lookup
            x = x + lookup(self.token_type.embedding[...], types)
        x_BTE = dropout(self.layer_norm(x), self.config.hidden_dropout_prob, key)
        return self.projection(x_BTE) if self.config.has_embedding_projection else x_BTE

    def _positions(
        self, input_ids: Int[Array, "B T"], position_ids: Int[Array, "B T"] | None
    ) -> Float[Array, "#B T E"]:
        length, limit = input_ids.shape[1], self.config.max_position_embeddings
        if position_ids is None and length > limit:
            raise ValueError(f"rows of {length} tokens exceed max_position_embeddings={limit}; cut or stride them")
        if self.config.sinusoidal_positions:
            table = jnp.asarray(sinusoidal_positions(limit, self.config.embedding_size))
        else:
            table = upcast(self.position.embedding[...])
        return table[None, :length] if position_ids is None else jnp.take(table, position_ids, axis=0)
