"""Who is compared, and the environments that they need."""

import dataclasses
from collections.abc import Mapping
from importlib import metadata
from typing import Any

KINDS = ("forward", "mlm", "sts", "compile", "first_step", "memory", "memory_small")
MEMORY_KINDS = ("memory", "memory_small")
_WORKERS = "benchmarks.peers.workers"
_TURNS = ("forward", "mlm", "sts", "first_step")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rival:
    """An implementation under one setting.

    Attributes:
        title: what tables call it.
        module: its worker.
        kinds: cases that it takes part in.
        options: what its worker is told.
        environment: a key of `environments()`; None is the running one.
        chosen_with: the rival that it is a setting of: it is chosen with that one.
        most_rounds: by kind of case, where a turn takes minutes.
    """

    title: str
    module: str
    kinds: tuple[str, ...]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: str | None = None
    chosen_with: str | None = None
    most_rounds: Mapping[str, int] = dataclasses.field(default_factory=dict)


OURS = "ours"
RIVALS: Mapping[str, Rival] = {
    OURS: Rival(title="flax_lite", module=f"{_WORKERS}.ours", kinds=KINDS),
    "hf_flax": Rival(title="Hugging Face Flax", module=f"{_WORKERS}.hf_flax", kinds=KINDS, environment="hf_flax"),
    "hf_flax_checkpoint": Rival(
        title="Hugging Face Flax, jax.checkpoint",
        module=f"{_WORKERS}.hf_flax",
        kinds=MEMORY_KINDS,
        options={"checkpoint": True},
        environment="hf_flax",
        chosen_with="hf_flax",
    ),
    "hf_torch": Rival(
        title="Hugging Face PyTorch, eager", module=f"{_WORKERS}.hf_torch", kinds=_TURNS, environment="hf_torch"
    ),
    "hf_torch_unpadded": Rival(
        title="Hugging Face PyTorch, eager, no padding",
        module=f"{_WORKERS}.hf_torch",
        kinds=("sts",),
        options={"unpadded": True},
        environment="hf_torch",
        chosen_with="hf_torch",
    ),
    "hf_torch_compiled": Rival(
        title="Hugging Face PyTorch, compiled",
        module=f"{_WORKERS}.hf_torch",
        kinds=(*_TURNS, "compile"),
        options={"compile": True},
        environment="hf_torch",
        most_rounds={"compile": 1, "first_step": 1},
    ),
    "keras_hub": Rival(
        title="KerasHub on JAX", module=f"{_WORKERS}.keras_jax", kinds=(*_TURNS, "compile"), environment="keras_hub"
    ),
}
CHOICES = tuple(name for name, rival in RIVALS.items() if name != OURS and rival.chosen_with is None)


def chosen(names: tuple[str, ...] | list[str]) -> dict[str, Rival]:
    """Ours, the named rivals and their settings, in the order of the table."""
    wanted = {OURS, *names}
    return {name: rival for name, rival in RIVALS.items() if (rival.chosen_with or name) in wanted}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """What pip installs.

    Attributes:
        requirements: with what they depend on.
        alone: without. KerasHub asks for TensorFlow, which it needs for its tokenizers only.
    """

    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()


def environments() -> dict[str, Environment]:
    """By name. JAX and Flax in the running versions: implementations are compared, not compilers."""
    jax, flax, optax = (f"{name}=={metadata.version(name)}" for name in ("jax", "flax", "optax"))
    reader = "safetensors==0.8.0"
    return {
        "hf_flax": Environment(requirements=("transformers==4.57.6", jax, flax, optax, reader)),
        "hf_torch": Environment(requirements=("torch==2.13.0", "transformers==4.57.6", reader)),
        "keras_hub": Environment(
            requirements=("keras==3.15.1", jax, reader, "kagglehub==1.0.3", "tokenizers==0.22.2", "regex"),
            alone=("keras-hub==0.32.0",),
        ),
    }
