"""The parts of the encoder: embeddings, and the post-LayerNorm transformer layer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Bool, Float, Int

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.activations import ACTIVATION_FUNCTIONS
from flax_lite.layers.attention import (
    attend,
    attention_probabilities,
    attention_scores,
    fused_attention,
    fused_attention_fits,
)
from flax_lite.layers.dropout import drop, dropout
from flax_lite.layers.execution import Execution
from flax_lite.layers.layer_masks import LayerMasks
from flax_lite.layers.normalization import layer_norm, normalise
from flax_lite.layers.recompute import recomputed

_FEW = 8  # token types whose rows are chosen one by one: the program grows with each


def linear(
    in_features: int, out_features: int, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs
) -> nnx.Linear:
    """A Dense layer initialised as BERT's: truncated normal kernel, zero bias.

    The normal is cut at two sigma and its standard deviation is that of the uncut one, as
    tf.truncated_normal_initializer has it.
    """
    kernel_init = jax.nn.initializers.truncated_normal(stddev=config.initializer_range)
    return nnx.Linear(in_features, out_features, kernel_init=kernel_init, dtype=execution.compute_dtype, rngs=rngs)


def embedding_table(num_rows: int, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> nnx.Embed:
    """An embedding table [num_rows, E] initialised as BERT's."""
    embedding_init = jax.nn.initializers.truncated_normal(stddev=config.initializer_range)
    return nnx.Embed(
        num_rows, config.embedding_size, embedding_init=embedding_init, dtype=execution.compute_dtype, rngs=rngs
    )


def _float32(table: nnx.Embed) -> Float[Array, "rows E"]:
    values = table.embedding[...]
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def rows_of(table: nnx.Embed, ids: Int[Array, "B T"]) -> Float[Array, "B T E"]:
    """The rows of a table by their numbers, in float32; NaN where there is no such row.

    In float32 because its gradient adds up all tokens of a word: in bfloat16 a sum stops growing at 256 times an
    addend, and a GPU adds bfloat16 atomically by trying again (see `rows_of_few`).
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


def rows_of_few(table: nnx.Embed, ids: Int[Array, "B T"]) -> Float[Array, "B T E"]:
    """`rows_of` for a table of a few rows: each is chosen where its number is, so that its gradient is a sum.

    The gradient of a lookup adds all tokens into these few rows, which on a GPU wait for one another: of BERT-base's
    two token types, 65,536 tokens, bfloat16, 100 ms out of a step of 220 (H200).
    """
    values = _float32(table)
    rows = jnp.full((*ids.shape, values.shape[1]), jnp.nan, values.dtype)
    for number, row in enumerate(values):
        rows = jnp.where((ids == number)[:, :, None], row, rows)
    return rows


def sinusoidal_positions(num_positions: int, width: int) -> Float[np.ndarray, "T D"]:
    """Sine and cosine of t / 10000^(2 floor(j / 2) / D), alternating over the columns j; float32.

    Source: transformers, distilbert/modeling_distilbert.py, create_sinusoidal_embeddings.
    """
    columns = np.arange(width)
    angles = np.arange(num_positions)[:, None] / np.power(10000, 2 * (columns // 2) / width)[None, :]
    return np.where(columns % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


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

        Raises:
            ValueError: if the rows are longer than `max_position_embeddings` and no `position_ids` are given.
        """
        positions = self._positions(input_ids, position_ids)
        if key is not None:
            positions = _row_major(jnp.broadcast_to(positions, (*input_ids.shape, self.config.embedding_size)))
        x = rows_of(self.word, input_ids) + positions
        if self.config.type_vocab_size:
            types = jnp.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            look_up = rows_of_few if self.config.type_vocab_size <= _FEW else rows_of
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


def add_and_norm(
    norm: nnx.LayerNorm,
    x: Float[Array, "B T D"],
    output: Float[Array, "B T D"],
    rate: float,
    keep: Bool[Array, "B T D"] | None,
    execution: Execution,
) -> Float[Array, "B T D"]:
    """LayerNorm(x + dropout(output)). The backward pass computes the statistics again."""
    return recomputed(lambda x, output: normalise(norm, x + drop(output, rate, keep)), execution)(x, output)


class SelfAttention(nnx.Module):
    """LayerNorm(x + dropout(Dense(attention(x))))."""

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.execution = execution
        width = config.hidden_size
        self.query = linear(width, width, config, execution, rngs=rngs)
        self.key = linear(width, width, config, execution, rngs=rngs)
        self.value = linear(width, width, config, execution, rngs=rngs)
        self.output = linear(width, width, config, execution, rngs=rngs)
        self.layer_norm = layer_norm(width, config, execution, rngs=rngs)

    def _project(self, x: Float[Array, "B T D"], *, fused: bool) -> tuple[Array, Array, Array]:
        """Q, K and V as [B, T, N, H]; `fused`: by one product with the three kernels side by side.

        Side by side they are copied at each call. In training that pays, for a gradient of one product is cheaper than
        the sum of three (BERT-base, 8 x 128, two CPU cores: 1.94 s a step, apart 2.07); forward alone it does not (one
        row of 32 tokens: 43 ms, apart 34), nor for cuDNN, which takes three arrays and gives three gradients:
        to take one apart and put it together again is 10 of the 72 GiB that a step moves outside of products
        (ALBERT-base, 65,536 tokens, by the compiler for an H200; 45.0 ms of 32,768 tokens, side by side 45.8).
        """
        heads = (*x.shape[:2], self.config.num_attention_heads, -1)
        parts = (self.query, self.key, self.value)
        if fused:
            kernel = jnp.concatenate([part.kernel[...] for part in parts], axis=-1).astype(x.dtype)
            products = jnp.split(jnp.dot(x, kernel), len(parts), axis=-1)
            biases = (part.bias[...].astype(x.dtype) for part in parts)  # type: ignore[index]
            projected = [product + bias for product, bias in zip(products, biases, strict=True)]
        else:
            projected = [part(x) for part in parts]
        queries, keys, values = (part.reshape(heads) for part in projected)
        return queries, keys, values

    def _fits_cudnn(self, x: Float[Array, "B T D"]) -> bool:
        return fused_attention_fits(x.shape[1], self.config.hidden_size // self.config.num_attention_heads)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "B 1 #T T"] | None,
        *,
        masks: LayerMasks | None = None,
        need_scores: bool = False,
    ) -> tuple[Float[Array, "B T D"], dict[str, Array]]:
        """The block's output and its internals by name; without masks it is deterministic.

        Internals are "queries", "keys", "values", and with `need_scores` surely also "scores" and "probabilities".
        """
        keep, keep_output = (None, None) if masks is None else masks[:2]
        by_cudnn = self.execution.attention == "cudnn" and not need_scores and keep is None and self._fits_cudnn(x)
        queries, keys, values = self._project(x, fused=masks is not None and not by_cudnn)
        internals = {"queries": queries, "keys": keys, "values": values}
        if by_cudnn:
            context = fused_attention(queries, keys, values, mask)
        else:
            scores = attention_scores(queries, keys)
            rate = self.config.attention_probs_dropout_prob
            attended = functools.partial(attend, mask=mask, rate=rate, keep=keep)
            context = recomputed(attended, self.execution)(scores, values)
            internals |= {"scores": scores, "probabilities": attention_probabilities(scores, mask)}
        output = self.output(context.reshape(x.shape))
        rate = self.config.attention_output_dropout_prob
        return add_and_norm(self.layer_norm, x, output, rate, keep_output, self.execution), internals


class FeedForward(nnx.Module):
    """LayerNorm(x + dropout(Dense(act(Dense(x)))))."""

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.execution = execution
        self.intermediate = linear(config.hidden_size, config.intermediate_size, config, execution, rngs=rngs)
        self.output = linear(config.intermediate_size, config.hidden_size, config, execution, rngs=rngs)
        self.layer_norm = layer_norm(config.hidden_size, config, execution, rngs=rngs)

    def __call__(self, x: Float[Array, "B T D"], *, keep: Bool[Array, "B T D"] | None = None) -> Float[Array, "B T D"]:
        """The block's output; without a mask it is deterministic."""
        activation = ACTIVATION_FUNCTIONS[self.config.hidden_act]
        output = recomputed(lambda hidden: self.output(activation(hidden)), self.execution)(self.intermediate(x))
        return add_and_norm(self.layer_norm, x, output, self.config.hidden_dropout_prob, keep, self.execution)


class TransformerLayer(nnx.Module):
    """Self-attention, then the feed-forward block."""

    def __init__(self, config: EncoderConfig, execution: Execution, *, rngs: nnx.Rngs) -> None:
        self.attention = SelfAttention(config, execution, rngs=rngs)
        self.feed_forward = FeedForward(config, execution, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "B 1 #T T"] | None,
        *,
        masks: LayerMasks | None = None,
        need_scores: bool = False,
    ) -> tuple[Float[Array, "B T D"], dict[str, Array]]:
        """The layer's output and its attention's internals; without masks (`draw_layer_masks`) it is deterministic."""
        with jax.named_scope("attention"):
            x, internals = self.attention(x, mask, masks=masks, need_scores=need_scores)
        with jax.named_scope("feed_forward"):
            return self.feed_forward(x, keep=None if masks is None else masks.feed_forward), internals
