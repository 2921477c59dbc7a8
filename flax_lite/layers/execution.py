"""Execution configuration: how a model is computed, not which function (up to rounding and the dropout draw)."""

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

# Where "auto" unrolls the whole stack, up to this many layers: beyond, the program's size and compile time outweigh it.
# XLA:CPU is slow at loops (jax issue 36799): a training step of 12 layers takes 1.10 (ALBERT-base) to 1.12 times
# (BERT-base) as long scanned as unrolled; unrolled it compiles 1.5 to 3.5 s longer, won back after 15 steps at most
# (8 x 128, float32, two cores, jax 0.10.2). On a GPU a loop copies what the backward pass needs into arrays of all
# layers and back: 1.23 times as long for ALBERT-base (65,536 tokens in rows of 512, bfloat16, H200, jax 0.11.2).
FULL_UNROLL_LAYERS = 12
_UNROLLING = ("cpu", "gpu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """How to compute a model.

    Attributes:
        dtype: compute dtype; parameters, LayerNorm statistics, softmax and losses stay float32. "auto" is bfloat16
            where the device computes it natively (TPU, NVIDIA from Ampere on), else float32. "float16" is for
            inference, on a T4 for instance: there is no loss scaling, so small gradients vanish.
        unroll: layers per iteration of the scan over the depth; 0 unrolls all of it. "auto" unrolls up to 12 layers on
            CPU and GPU, where a loop is slow, and nothing elsewhere.
        remat: what the backward pass recomputes: "none", everything but matrix products ("dots"), or whole layers
            ("full").
        attention: "xla" (matrix products and a float32 softmax), "cudnn" (fused kernel: NVIDIA, 16-bit activations), or
            "auto": cudnn where the device has it, else xla. What cudnn cannot do is left to xla: dropout on
            probabilities, captured scores, rows of an odd length, heads wider than 128 or not of a multiple of 8.
        deterministic: bit-equal results from run to run on GPU, at a cost. XLA reads it when it starts, so a job must
            apply `xla_flags` before its first computation; the train commands do.
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
        """A copy without "auto".

        Args:
            num_steps: layer applications of the scan.
            device: where it will be computed: anything with a `platform` ("cpu", "gpu", "tpu") and, of a GPU, a
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
        """The dtype of activations.

        Raises:
            ValueError: while the dtype is "auto".
        """
        if self.dtype == "auto":
            raise ValueError("execution dtype is still 'auto'; call resolve() first")
        return jax.dtypes.canonicalize_dtype(self.dtype)

    def xla_flags(self) -> tuple[str, ...]:
        """Flags for the environment variable XLA_FLAGS, to be set before JAX's first computation."""
        return ("--xla_gpu_deterministic_ops=true",) if self.deterministic else ()


def _native_dtype(device: Any) -> DType:
    return "bfloat16" if device.platform == "tpu" or _is_ampere_or_later(device) else "float32"


def _attention(device: Any, dtype: DType) -> Attention:
    return "cudnn" if _is_ampere_or_later(device) and dtype in ("bfloat16", "float16") else "xla"


def _is_ampere_or_later(device: Any) -> bool:
    """Whether it is an NVIDIA GPU of Ampere (compute capability 8.0) or later.

    A T4 (7.5) emulates bfloat16 and has no fused attention in cuDNN.
    """
    # That of another maker's GPU is a name ("gfx942").
    capability = str(getattr(device, "compute_capability", ""))
    return device.platform == "gpu" and re.fullmatch(r"\d+\.\d+", capability) is not None and float(capability) >= 8.0


def recomputed(function: Callable[..., Array], execution: Execution) -> Callable[..., Array]:
    """The same function, of which the backward pass keeps the inputs and computes again what is between.

    Where `execution.remat` has the whole layer computed again it is the function itself: it would be computed a third
    time.
    """
    # Without barriers: in the body of a loop, where forward and backward pass are programs of their own, XLA cannot
    # merge the two computations.
    return jax.checkpoint(function, prevent_cse=False) if execution.remat == "none" else function
