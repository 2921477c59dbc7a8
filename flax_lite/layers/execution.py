"""Execution configuration: how a model is computed. The function stays the same, up to rounding and dropout draws."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, Literal, Self, get_args

import jax
import numpy as np
from jaxtyping import Array

DType = Literal["float32", "bfloat16", "float16", "auto"]
Remat = Literal["none", "dots", "full"]
Attention = Literal["auto", "xla", "cudnn"]

# "auto" unrolls the whole stack up to this depth; beyond it, program size and compile time outweigh the gain. A loop
# makes a training step up to 1.12 times as long on CPU and 1.23 times on a GPU (docs/performance.md; jax issue 36799).
FULL_UNROLL_LAYERS = 12
_UNROLLING = ("cpu", "gpu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """How to compute a model.

    Attributes:
        dtype: compute dtype; parameters, LayerNorm statistics, softmax and losses stay float32. "auto" is bfloat16 on
            devices with native support (TPU, NVIDIA from Ampere on), else float32. "float16" is for inference only, for
            example on a T4: without loss scaling, small gradients underflow.
        unroll: layers per iteration of the scan over the depth; 0 unrolls all layers. "auto" unrolls up to 12 layers on
            CPU and GPU, where loops are slow, and none elsewhere.
        remat: values that the backward pass recomputes: "none", everything except matrix products ("dots"), or whole
            layers ("full").
        attention: "xla" (matrix products and a float32 softmax), "cudnn" (fused kernel: NVIDIA, 16-bit activations), or
            "auto": cudnn if the device supports it, else xla. cudnn falls back to xla for dropout on probabilities,
            captured scores, rows of an odd length, and heads wider than 128 or not a multiple of 8.
        deterministic: bit-equal results from run to run on GPU, at a cost. XLA reads the option at startup, so a job
            must apply `xla_flags` before its first computation; the train commands do.
    """

    dtype: DType = "float32"
    unroll: int | Literal["auto"] = 1
    remat: Remat = "none"
    attention: Attention = "auto"
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name, choices in (
            ("dtype", get_args(DType)),
            ("remat", get_args(Remat)),
            ("attention", get_args(Attention)),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"execution {name}={getattr(self, name)!r} is not known; choose one of {', '.join(choices)}"
                )
        if self.unroll != "auto" and (not isinstance(self.unroll, int) or self.unroll < 0):
            raise ValueError(
                f"execution unroll={self.unroll!r} must be a number of layers, 0 for all of them, or 'auto'"
            )

    def resolve(self, num_steps: int, device: Any = None) -> Self:
        """Returns a copy in which every "auto" is replaced.

        Args:
            num_steps: number of layer applications in the scan.
            device: target device: any object with a `platform` ("cpu", "gpu", "tpu") and, for a GPU, a
                `compute_capability`; JAX's default device if None.
        """
        device = device or jax.devices()[0]
        unroll = self.unroll
        if unroll == "auto":
            unroll = 0 if device.platform in _UNROLLING and num_steps <= FULL_UNROLL_LAYERS else 1
        dtype = _native_dtype(device) if self.dtype == "auto" else self.dtype
        return dataclasses.replace(
            self,
            dtype=dtype,
            unroll=min(unroll, num_steps) or num_steps,
            attention=_attention(device, dtype) if self.attention == "auto" else self.attention,
        )

    @property
    def compute_dtype(self) -> np.dtype:
        """Dtype of the activations.

        Raises:
            ValueError: if the dtype is still "auto".
        """
        if self.dtype == "auto":
            raise ValueError("execution dtype is still 'auto'; call resolve() first")
        return jax.dtypes.canonicalize_dtype(self.dtype)

    def xla_flags(self) -> tuple[str, ...]:
        """Returns the flags to add to the environment variable XLA_FLAGS before JAX's first computation."""
        return ("--xla_gpu_deterministic_ops=true",) if self.deterministic else ()


def _native_dtype(device: Any) -> DType:
    return "bfloat16" if device.platform == "tpu" or _is_ampere_or_later(device) else "float32"


def _attention(device: Any, dtype: DType) -> Attention:
    return "cudnn" if _is_ampere_or_later(device) and dtype in ("bfloat16", "float16") else "xla"


def _is_ampere_or_later(device: Any) -> bool:
    """Whether the device is an NVIDIA GPU of compute capability 8.0 (Ampere) or later.

    A T4 (7.5) emulates bfloat16 and has no fused attention in cuDNN.
    """
    # GPUs of other vendors report a name ("gfx942").
    capability = str(getattr(device, "compute_capability", ""))
    return device.platform == "gpu" and re.fullmatch(r"\d+\.\d+", capability) is not None and float(capability) >= 8.0


def recompute_in_backward(function: Callable[..., Array], execution: Execution) -> Callable[..., Array]:
    """Returns the function with its intermediates recomputed in the backward pass, which then keeps the inputs only.

    If `execution.remat` already recomputes whole layers, the function is returned unchanged: it would be computed a
    third time.
    """
    # No barriers against common subexpression elimination: inside a loop the forward and backward passes are separate
    # programs, so XLA cannot merge the two computations.
    return jax.checkpoint(function, prevent_cse=False) if execution.remat == "none" else function
