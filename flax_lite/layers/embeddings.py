"""Embedding tables, and their sum: words, positions and token types, with ALBERT's map from E to D."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float, Int

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.weights import sinusoidal_positions
from flax_lite.layers.dense import linear
from flax_lite.layers.dropout import dropout
from flax_lite.layers.execution import Execution
from flax_lite.layers.normalization import layer_norm

_FEW = 8  # token types whose rows are chosen one by one: the program grows with each


def embedding_table(num_rows: int, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> nnx.Embed:
    """An embedding table [num_rows, E] initialized as BERT's."""
    embedding_init = jax.nn.initializers.truncated_normal(stddev=config.initializer_range)
    return nnx.Embed(
        num_rows, config.embedding_size, embedding_init=embedding_init, dtype=execution.compute_dtype, rngs=rngs
    )


def _float32(table: nnx.Embed) -> Float[Array, "rows E"]:
    values = table.embedding[...]
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def embedding_lookup(table: nnx.Embed, ids: Int[Array, "B T"]) -> Float[Array, "B T E"]:
    """The rows of a table by their numbers, in float32; NaN for a number from its size on; -1 is the last row.

    In float32 because its gradient adds up all tokens of a word: in bfloat16 a sum stops growing at 256 times an
    addend, and a GPU adds bfloat16 atomically by trying again (see `select_lookup`).
    """
    return jnp.take(_float32(table), ids, axis=0)


def _row_major(x: Float[Array, "B T E"]) -> Float[Array, "B T E"]:
    """The same array, and as laid out in memory its gradient too; on several devices nothing, as it would be gathered.

    The positions' gradient is a sum over B. XLA on a GPU wants what it adds up side by side, and hands that layout on
    through every sum of the residual path: unrolled, each layer was then transposed before and after its LayerNorms.
    """
    if jax.device_count() > 1:
        return x
    return with_layout_constraint(x, Layout(major_to_minor=(0, 1, 2)))


def select_lookup(table: nnx.Embed, ids: Int[Array, "B T"]) -> Float[Array, "B T E"]:
    """`embedding_lookup` for a table of a few rows: each is chosen where its number is, so that its gradient is a sum.

    NaN for every number that no row has, negative ones too.

    The gradient of a lookup adds all tokens into these few rows, which on a GPU wait for one another: of BERT-base's
    two token types, 65,536 tokens, bfloat16, 100 ms out of a step of 220 (H200).
    """
    values = _float32(table)
    rows = jnp.full((*ids.shape, values.shape[1]), jnp.nan, values.dtype)
    for number, row in enumerate(values):
        rows = jnp.where((ids == number)[:, :, None], row, rows)
    return rows


class Embeddings(nnx.Module):
    """LayerNorm(word + position + token type), dropout, and ALBERT's Dense from E to D (bias, no activation)."""

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

        A compiled program cannot raise an error for an id that its table lacks. Such a word, position or token type
        makes its token NaN, and through attention its row; a negative word or position counts from the table's end.
        Check ids before, as `flax_lite.pipeline` does.

        Raises:
            ValueError: if the rows are longer than `max_position_embeddings` and no `position_ids` are given.
        """
        positions = self._positions(input_ids, position_ids)
        if key is not None:
            positions = _row_major(jnp.broadcast_to(positions, (*input_ids.shape, self.config.embedding_size)))
        x = embedding_lookup(self.word, input_ids) + positions
        if self.config.type_vocab_size:
            types = jnp.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            look_up = select_lookup if self.config.type_vocab_size <= _FEW else embedding_lookup
            x = x + look_up(self.token_type, types)
        x = dropout(self.layer_norm(x), self.config.hidden_dropout_prob, key)
        return self.projection(x) if self.config.has_embedding_projection else x

    def _positions(
        self, input_ids: Int[Array, "B T"], position_ids: Int[Array, "B T"] | None
    ) -> Float[Array, "#B T E"]:
        length, limit = input_ids.shape[1], self.config.max_position_embeddings
        if position_ids is None and length > limit:
            raise ValueError(f"rows of {length} tokens exceed max_position_embeddings={limit}; cut or stride them")
        if self.config.sinusoidal_positions:
            table = jnp.asarray(sinusoidal_positions(limit, self.config.embedding_size))
        else:
            table = _float32(self.position)
        return table[None, :length] if position_ids is None else jnp.take(table, position_ids, axis=0)
