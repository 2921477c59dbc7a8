"""Bidirectional attention: the mask, and one function for scores, softmax and the weighted sum."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from flax_lite.layers.dense import einsum_f32
from flax_lite.layers.dropout import drop


def attention_visibility(
    mask: Shaped[Array, "B S"] | None, segment_ids: Int[Array, "B S"] | None
) -> Bool[Array, "B 1 #T S"] | None:
    """Which key each query may see.

    Args:
        mask: non-zero where a token is real; padding keys are hidden from every query.
        segment_ids: texts packed into one row, numbered; a token sees its own text only (block-diagonal attention).

    Returns:
        True where attention is allowed, with a head axis of 1; None where everything is.
    """
    allowed = None if mask is None else (mask != 0)[:, None, None, :]
    if segment_ids is None:
        return allowed
    same_text = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
    return same_text if allowed is None else same_text & allowed


def attention_scores(queries: Float[Array, "B T N H"], keys: Float[Array, "B S N H"]) -> Float[Array, "B N T S"]:
    """Scaled, unmasked scores Q K^T / sqrt(H), in float32."""
    scaled = queries / math.sqrt(queries.shape[-1])
    # Heads are brought to the front by hand, here and in `attend`. An einsum of [B, T, N, H] leaves it to its
    # gradients, and makes V^T P^T of "BNTS,BSNH->BTNH": 5% of a forward pass (BERT-base, 8 x 128, two CPU cores).
    return einsum_f32("BNTH,BNSH->BNTS", scaled.swapaxes(1, 2), keys.swapaxes(1, 2))


def attention_probabilities(
    scores: Float[Array, "B N T S"], mask: Bool[Array, "B 1 #T S"] | None
) -> Float[Array, "B N T S"]:
    """softmax(scores) over the keys a query may see, in float32.

    A query that may see nothing gets the uniform average: finite, and excluded from every loss (Hugging Face Flax does
    the same).
    """
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jax.nn.softmax(scores, axis=-1)


def attend(
    scores: Float[Array, "B N T S"],
    values: Float[Array, "B S N H"],
    mask: Bool[Array, "B 1 #T S"] | None,
    rate: float,
    keep: Bool[Array, "B N T S"] | None,
) -> Float[Array, "B T N H"]:
    """dropout(softmax(scores)) V, in the dtype of the values; `keep` is dropout's mask."""
    probabilities = drop(attention_probabilities(scores, mask).astype(values.dtype), rate, keep)
    return jnp.matmul(probabilities, values.swapaxes(1, 2)).swapaxes(1, 2)


def fused_attention_fits(length: int, head_width: int) -> bool:
    """Whether cuDNN has a kernel for rows of T tokens and heads of width H, on every GPU that has fused attention.

    Forwards and backwards.

    Source: jax/_src/cudnn/fused_attention_stablehlo.py, check_is_flash_attention.
    """
    return length % 2 == 0 and head_width % 8 == 0 and head_width <= 128


def fused_attention(
    queries: Float[Array, "B T N H"],
    keys: Float[Array, "B S N H"],
    values: Float[Array, "B S N H"],
    mask: Bool[Array, "B 1 #T S"] | None,
) -> Float[Array, "B T N H"]:
    """softmax(Q K^T / sqrt(H)) V by cuDNN's fused kernel, without dropout.

    Raises:
        ValueError: where the device or dtype has no such kernel.
    """
    if mask is not None:
        # cuDNN takes a dense T x S mask only (jax issue 28974).
        mask = jnp.broadcast_to(mask, (mask.shape[0], 1, queries.shape[1], keys.shape[1]))
    try:
        return jax.nn.dot_product_attention(queries, keys, values, mask=mask, implementation="cudnn")
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"execution attention='cudnn' cannot run here ({error}); it needs an NVIDIA GPU with cuDNN and dtype "
            f"'bfloat16' (given {queries.dtype} on {jax.default_backend()}); use attention='xla' or 'auto'"
        ) from error
