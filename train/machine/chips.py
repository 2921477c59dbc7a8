"""Devices that a run is planned for, by name: `v5e:2x4`, `8xh100`, `8xcpu`."""

import dataclasses
import math
import re

import jax

from train.errors import UserError

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a kind of device can do.

    Attributes:
        platform: "tpu", "gpu" or "cpu".
        flops_per_second: its matrix units' peak, in bfloat16 where `bfloat16`; None: not known.
        float32_flops_per_second: likewise, of products of float32 numbers as JAX computes them by default: in TF32 on
            GPUs that have it. None: as the other, since a TPU rounds factors to bfloat16.
        memory_bytes: of its own; None: the host's.
        bfloat16: whether it computes in bfloat16 natively.
    """

    platform: str
    flops_per_second: float | None = None
    memory_bytes: int | None = None
    bfloat16: bool = True
    float32_flops_per_second: float | None = None

    def peak_flops_per_second(self, dtype: str) -> float | None:
        """The peak in a compute dtype, "bfloat16" or "float32"; None where it is not known."""
        if dtype == "bfloat16":
            return self.flops_per_second if self.bfloat16 else None
        return self.float32_flops_per_second or self.flops_per_second

    @property
    def compute_capability(self) -> str:
        """As `flax_lite.Execution.resolve` asks a GPU for it: 8.0 begins those with bfloat16."""
        return "8.0" if self.bfloat16 else "7.5"


# Peaks without sparsity, from the makers' data sheets: cloud.google.com/tpu/docs (v4, v5e, v5p, v6e), NVIDIA's of each
# card. A T4 has neither bfloat16 nor TF32; its matrix units' float16 peak would not be reached in float32.
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
# How the devices of these chips call themselves (`device_kind`), in order: the first whose words are part of the name.
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
    """Devices to plan for.

    Attributes:
        name: as given.
        kind: of CHIPS; another name where the device is not known.
        devices: how many.
        topology: of a TPU slice, as "2x4".
    """

    name: str
    kind: str
    devices: int
    topology: str | None = None

    @property
    def chip(self) -> Chip:
        """What each can do."""
        return CHIPS.get(self.kind, Chip("gpu"))

    @property
    def can_be_compiled_for(self) -> bool:
        """Whether there is a compiler for it where it is not present."""
        return self.topology is not None or self.kind == "cpu"


def parse_target(text: str) -> Target:
    """Reads `--target`.

    Raises:
        UserError: it is no such name.
    """
    if (match := _SLICE.fullmatch(text)) and match[1] in CHIPS:
        return Target(text, match[1], math.prod(map(int, match[2].split("x"))), match[2])
    if (match := _COUNT.fullmatch(text)) and match[2] in CHIPS and int(match[1]):
        if CHIPS[match[2]].platform != "tpu":
            return Target(text, match[2], int(match[1]))
        raise UserError(f"--target={text}: a TPU slice has a shape, as {match[2]}:2x2")
    tpus = [name for name, chip in CHIPS.items() if chip.platform == "tpu"]
    others = [name for name in CHIPS if name not in tpus]
    raise UserError(
        f"--target={text}: expected KIND:AxB for TPUs ({', '.join(tpus)}), as v5e:2x4, or NxKIND "
        f"({', '.join(others)}), as 8xcpu"
    )


def present_target() -> Target:
    """The devices of this process."""
    device = jax.devices()[0]
    kind = kind_of(device.device_kind)
    return Target(f"{jax.device_count()} x {device.device_kind}", kind, jax.device_count())


def kind_of(device_kind: str) -> str:
    """The chip that a device's own name means; that name where it is not known.

    Whole words alone count: an L40S is no L4, and an RTX A1000 no A100. A slice of a card (MIG) is not the card.
    """
    if re.search(r"\bMIG\b", device_kind):
        return device_kind
    return next((kind for part, kind in _KINDS.items() if re.search(rf"\b{part}\b", device_kind)), device_kind)
