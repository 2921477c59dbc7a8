"""Execution configuration: how a model is computed, not which function (up to rounding and the dropout draw)."""

import dataclasses
from typing import Any, Literal, Self, get_args

import jax
import numpy as np

DType = Literal["float32", "bfloat16", "float16", "auto"]
Remat = Literal["none", "dots", "full"]
Attention = Literal["auto", "xla", "cudnn"]

# On XLA:CPU, which is slow at loops (jax issue 36799), a training step of 12 layers takes 1.10 (ALBERT-base) to 1.12
# times (BERT-base) as long scanned as unrolled; unrolled it compiles 3 to 4 s longer, won back after about 15 steps
# (8 x 128, float32, two cores, jax 0.10.2). Beyond 12 layers the program's size and compile time outweigh it.
CPU_FULL_UNROLL_LAYERS = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """How to compute a model.

    Attributes:
        dtype: compute dtype; parameters, LayerNorm statistics, softmax and losses stay float32. "auto" is bfloat16
            where the device computes it natively (TPU, NVIDIA from Ampere on), else float32. "float16" is for
            inference, on a T4 for instance: there is no loss scaling, so small gradients vanish.
        unroll: layers per iteration of the scan over the depth; 0 unrolls all of it. "auto" unrolls up to 12 layers on
            CPU, where a loop is slow, and nothing elsewhere.
        remat: what the backward pass recomputes: "none", everything but matrix products ("dots"), or whole layers
            ("full").
        attention: "xla" (matrix products and a float32 softmax), "cudnn" (fused kernel: NVIDIA, bfloat16, no dropout on
            probabilities, no captured scores), or "auto" (xla, until another choice is measured faster).
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
            unroll = 0 if device.platform == "cpu" and num_steps <= CPU_FULL_UNROLL_LAYERS else 1
        return dataclasses.replace(
            self,
            dtype=_native_dtype(device) if self.dtype == "auto" else self.dtype,
            unroll=min(unroll, num_steps) or num_steps,
            attention="xla" if self.attention == "auto" else self.attention,
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
    if device.platform == "tpu":
        return "bfloat16"
    # A T4 (compute capability 7.5) emulates bfloat16; Ampere (8.0) and later have it.
    capability = getattr(device, "compute_capability", None)
    if device.platform == "gpu" and capability is not None and float(capability) >= 8.0:
        return "bfloat16"
    return "float32"
