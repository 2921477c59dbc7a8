"""Accelerator models and their peak rates, and the devices a run is planned for: `v5e:2x4`, `8xh100`, `8xcpu`."""

import dataclasses
import math
import re

import jax

from train.errors import UserError

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """Properties of one model of device.

    Attributes:
        platform: "tpu", "gpu" or "cpu".
        flops_per_second: peak of its matrix units, in bfloat16 if `bfloat16`; None: unknown.
        float32_flops_per_second: peak for float32 matrix products at JAX's default precision, which is TF32 on GPUs
            that have it. None: equal to `flops_per_second`, because a TPU rounds the factors to bfloat16.
        memory_bytes: size of the device's memory; None: it uses the host's.
        bfloat16: whether it computes in bfloat16 natively.
    """

    platform: str
    flops_per_second: float | None = None
    memory_bytes: int | None = None
    bfloat16: bool = True
    float32_flops_per_second: float | None = None

    def peak_flops_per_second(self, dtype: str) -> float | None:
        """Returns the peak for a compute dtype, "bfloat16" or "float32"; None if unknown."""
        if dtype == "bfloat16":
            return self.flops_per_second if self.bfloat16 else None
        return self.float32_flops_per_second or self.flops_per_second

    @property
    def compute_capability(self) -> str:
        """The CUDA compute capability for `flax_lite.Execution.resolve`: bfloat16 starts at 8.0."""
        return "8.0" if self.bfloat16 else "7.5"


# Peaks without sparsity, from the vendors' data sheets: cloud.google.com/tpu/docs (v4, v5e, v5p, v6e), NVIDIA's
# per card. A T4 has neither bfloat16 nor TF32, and float32 does not reach the float16 peak of its matrix units.
CHIPS = {
    "v4": Chip("tpu", 275e12, 32 * _GIB),
    "v5e": Chip("tpu", 197e12, 16 * _GIB),
    "v5p": Chip("tpu", 459e12, 95 * _GIB),
    "v6e": Chip("tpu", 918e12, 32 * _GIB),
    "t4": Chip("gpu", 8.1e12, 16 * _GIB, bfloat16=False),
    "l4": Chip("gpu", 121e12, 24 * _GIB, float32_flops_per_second=60e12),
    "a100": Chip("gpu", 312e12, 80 * _GIB, float32_flops_per_second=156e12),
    "h100_pcie": Chip("gpu", 756e12, 80 * _GIB, float32_flops_per_second=378e12),
    "h100_nvl": Chip("gpu", 835e12, 94 * _GIB, float32_flops_per_second=417e12),
    "h100": Chip("gpu", 989e12, 80 * _GIB, float32_flops_per_second=494e12),
    "h200": Chip("gpu", 989e12, 141 * _GIB, float32_flops_per_second=494e12),
    "cpu": Chip("cpu", bfloat16=False),
}
# Parts of `jax.Device.device_kind` and the chip they identify. The first match wins.
_KINDS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5p": "v5p",
    "TPU v5": "v5p",
    "TPU v6": "v6e",
    "TPU v6e": "v6e",
    "T4": "t4",
    "L4": "l4",
    "A100": "a100",
    "H100 PCIe": "h100_pcie",
    "H100 NVL": "h100_nvl",
    "H100": "h100",
    "H200": "h200",
    "cpu": "cpu",
}
_SLICE = re.compile(r"(v\w+):(\d+(?:x\d+){1,2})")
_COUNT = re.compile(r"(\d+)x(\w+)")


@dataclasses.dataclass(frozen=True)
class Target:
    """The devices that a run is planned for.

    Attributes:
        name: as given.
        kind: a key of CHIPS, or the device's own name if it is unknown.
        devices: the number of devices.
        topology: of a TPU slice, for example "2x4"; else None.
    """

    name: str
    kind: str
    devices: int
    topology: str | None = None

    @property
    def chip(self) -> Chip:
        """The properties of each device."""
        return CHIPS.get(self.kind, Chip("gpu"))

    @property
    def can_be_compiled_for(self) -> bool:
        """Whether JAX can compile for it on a machine without such devices."""
        return self.topology is not None or self.kind == "cpu"


def parse_target(text: str) -> Target:
    """Parses `--target`.

    Raises:
        UserError: the text does not name a target.
    """
    if (match := _SLICE.fullmatch(text)) and match[1] in CHIPS:
        return Target(text, match[1], math.prod(map(int, match[2].split("x"))), match[2])
    if (match := _COUNT.fullmatch(text)) and match[2] in CHIPS and int(match[1]):
        if CHIPS[match[2]].platform != "tpu":
            return Target(text, match[2], int(match[1]))
        raise UserError(f"--target={text}: a TPU slice needs a topology, for example {match[2]}:2x2")
    tpus = [name for name, chip in CHIPS.items() if chip.platform == "tpu"]
    others = [name for name in CHIPS if name not in tpus]
    raise UserError(
        f"--target={text}: expected KIND:AxB for TPUs ({', '.join(tpus)}), for example v5e:2x4, or "
        f"NxKIND ({', '.join(others)}), for example 8xcpu"
    )


def present_target() -> Target:
    """Returns the devices of this process as a target."""
    device = jax.devices()[0]
    kind = kind_of(device.device_kind)
    return Target(f"{jax.device_count()} x {device.device_kind}", kind, jax.device_count())


def kind_of(device_kind: str) -> str:
    """Returns the key of CHIPS for a `device_kind`, or the `device_kind` itself if it is unknown.

    Only whole words match: an L40S is not an L4, and an RTX A1000 is not an A100. A MIG slice does not match its card.
    """
    if re.search(r"\bMIG\b", device_kind):
        return device_kind
    return next((kind for part, kind in _KINDS.items() if re.search(rf"\b{part}\b", device_kind)), device_kind)
