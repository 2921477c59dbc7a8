"""Attention by cuDNN's fused kernel."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def cudnn_attention_fits(length: int, head_width: int) -> bool:
    """Whether cuDNN has forward and backward kernels for T tokens and heads of width H on every supported GPU.

    Source: jax/_src/cudnn/fused_attention_stablehlo.py, check_is_flash_attention.
    """
    return length % 2 == 0 and head_width % 8 == 0 and head_width <= 128


def cudnn_attention(
    queries: Float[Array, "B T N H"],
    keys: Float[Array, "B S N H"],
    values: Float[Array, "B S N H"],
    mask: Bool[Array, "B 1 #T S"] | None,
) -> Float[Array, "B T N H"]:
    """softmax(Q K^T / sqrt(H)) V by cuDNN's fused kernel, without dropout.

    Gains: no array of B * N * T * S elements in GPU memory.

    Raises:
        ValueError: if the device or dtype has no such kernel.
    """
    if mask is not None:
        # cuDNN only supports a dense T x S mask (jax issue 28974).
        mask = jnp.broadcast_to(mask, (mask.shape[0], 1, queries.shape[1], keys.shape[1]))
    try:
        return jax.nn.dot_product_attention(queries, keys, values, mask=mask, implementation="cudnn")
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"execution attention='cudnn' cannot run here ({error}); it needs an NVIDIA GPU with cuDNN and dtype "
            f"'bfloat16' (given {queries.dtype} on {jax.default_backend()}); use attention='xla' or 'auto'"
        ) from error
