"""The implementations that are compared."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

KINDS = ("forward", "mlm", "sts", "compile", "first_step", "memory", "memory_small")
MEMORY_KINDS = ("memory", "memory_small")
_WORKERS = "benchmarks.peers.workers"
_TURNS = ("forward", "mlm", "sts", "first_step")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rival:
    """An implementation under one setting.

    Attributes:
        title: its name in tables.
        module: its worker.
        kinds: kinds of case that it takes part in.
        options: arguments of its worker.
        environment: a key of `environments()`; None is the running one.
        chosen_with: the rival of which it is another setting, and with which it is chosen.
        most_rounds: by kind of case, if a turn takes minutes.
    """

    title: str
    module: str
    kinds: tuple[str, ...]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: str | None = None
    chosen_with: str | None = None
    most_rounds: Mapping[str, int] = dataclasses.field(default_factory=dict)


FLAX_LITE = "ours"  # the key in results files
_hf_flax = functools.partial(Rival, module=f"{_WORKERS}.hf_flax", environment="hf_flax")
_hf_torch = functools.partial(Rival, module=f"{_WORKERS}.hf_torch", environment="hf_torch")
RIVALS: Mapping[str, Rival] = {
    FLAX_LITE: Rival(title="flax_lite", module=f"{_WORKERS}.flax_lite_worker", kinds=KINDS),
    "hf_flax": _hf_flax(title="Hugging Face Flax", kinds=KINDS),
    "hf_flax_checkpoint": _hf_flax(
        title="Hugging Face Flax, jax.checkpoint",
        kinds=MEMORY_KINDS,
        options={"checkpoint": True},
        chosen_with="hf_flax",
    ),
    "hf_torch": _hf_torch(title="Hugging Face PyTorch, eager", kinds=_TURNS),
    "hf_torch_unpadded": _hf_torch(
        title="Hugging Face PyTorch, eager, no padding",
        kinds=("sts",),
        options={"unpadded": True},
        chosen_with="hf_torch",
    ),
    "hf_torch_compiled": _hf_torch(
        title="Hugging Face PyTorch, compiled",
        kinds=(*_TURNS, "compile"),
        options={"compile": True},
        most_rounds={"compile": 1, "first_step": 1},
    ),
    "keras_hub": Rival(
        title="KerasHub on JAX", module=f"{_WORKERS}.keras_jax", kinds=(*_TURNS, "compile"), environment="keras_hub"
    ),
}
CHOICES = tuple(name for name, rival in RIVALS.items() if name != FLAX_LITE and rival.chosen_with is None)


def chosen(names: Sequence[str]) -> dict[str, Rival]:
    """Returns flax_lite, the named rivals and their other settings, in the order of RIVALS."""
    wanted = {FLAX_LITE, *names}
    return {name: rival for name, rival in RIVALS.items() if (rival.chosen_with or name) in wanted}
