"""Estimates a step from shapes: memory per device, operations, bytes moved between devices, and time."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from flax_lite.models.flops import Costs
from flax_lite.models.params import path_name, tree_specs
from train.plan.memory import activation_bytes
from train.run.job import Job

_FLOAT32 = 4
# The utilization of peak FLOP/s that a plan assumes. Published runs: BERT-base 24% on 8 A100 (mosaicml/examples, bert),
# a BERT of 4 billion parameters 55% (NVIDIA NeMo's page of results). None of ours has run on an accelerator.
UTILIZATION = 0.4


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The estimate of a step. Bytes are per device.

    Attributes:
        parameters: the number of trained parameters.
        parameter_bytes: the sharded float32 parameters.
        optimizer_bytes: the optimizer state.
        constant_bytes: constants of the step, as a teacher's parameters.
        gathered_bytes: the parameters as a step uses them, gathered, in the compute dtype.
        gradient_bytes: the gradients, not sharded.
        activation_bytes: the activations that the backward pass reads.
        flops: floating-point operations of a step, over all devices.
        tokens: positions in a step's batch, with padding.
        collectives: result bytes of each kind of collective in a step.
    """

    parameters: int
    parameter_bytes: int
    optimizer_bytes: int
    constant_bytes: int
    gathered_bytes: int
    gradient_bytes: int
    activation_bytes: int
    flops: float
    tokens: int
    collectives: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """The sum of the bytes."""
        fields = ("parameter", "optimizer", "constant", "gathered", "gradient", "activation")
        return sum(getattr(self, f"{field}_bytes") for field in fields)

    def seconds(self, flops_per_second: float, devices: int, utilization: float) -> float:
        """Returns the time of a step at a utilization of the devices' peak."""
        return self.flops / (flops_per_second * devices * utilization)


def estimate(
    job: Job,
    batch: Mapping[str, Any],
    constants: Any,
    sizes: tuple[int, int],
    *,
    accumulation_steps: int,
    loops_reduce: bool,
) -> Estimate:
    """Returns the estimate of a training step.

    Args:
        job: the job.
        batch: the global batch, or its shapes.
        constants: the step's constants, or their shapes.
        sizes: the sizes of the mesh axes "data" and "fsdp".
        accumulation_steps: micro-batches per step.
        loops_reduce: whether the compiler reduces gradients over devices within loops over layers and chunks, as XLA
            does for CPUs; for TPUs it reduces a loop's sum once for each micro-batch.

    Raises:
        ValueError: the job has no costs.
    """
    if job.costs is None:
        raise ValueError("a job without costs cannot be planned")
    state = jax.eval_shape(job.init_state, jax.random.key(0))
    devices, parts = math.prod(sizes), sizes[1]
    item = job.costs.execution.compute_dtype.itemsize
    params = state["params"]
    gathered = (params, constants)
    split = _split_elements(gathered, parts)
    reduced = accumulation_steps * _gradient_elements(params, job.costs, loops_reduce) * item
    collectives = {"all-gather": split * item, "all-reduce": reduced} if devices > 1 else {}
    whole = sum(leaf.size for leaf in jax.tree.leaves(gathered))
    return Estimate(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        parameter_bytes=_device_bytes(params, parts),
        optimizer_bytes=_device_bytes(state["opt_state"], parts),
        constant_bytes=_device_bytes(constants, parts),
        gathered_bytes=0 if parts == 1 and item == _FLOAT32 else whole * item,
        gradient_bytes=sum(leaf.size for leaf in jax.tree.leaves(params)) * _FLOAT32,
        activation_bytes=int(activation_bytes(job.costs, batch) / devices / accumulation_steps),
        flops=job.costs.flops(batch),
        tokens=batch["input_ids"].size,
        collectives={kind: size for kind, size in collectives.items() if size},
    )


def _device_bytes(tree: Any, parts: int) -> int:
    pairs = _arrays_and_specs(tree, parts)
    return sum(array.size * array.dtype.itemsize // (parts if any(spec) else 1) for array, spec in pairs)


def _split_elements(tree: Any, parts: int) -> int:
    return sum(array.size for array, spec in _arrays_and_specs(tree, parts) if any(spec))


def _arrays_and_specs(tree: Any, parts: int) -> Iterator[tuple[Any, jax.sharding.PartitionSpec]]:
    specs = jax.tree.leaves(
        tree_specs(tree, parts), is_leaf=lambda value: isinstance(value, jax.sharding.PartitionSpec)
    )
    return zip(jax.tree.leaves(tree), specs, strict=True)


def _gradient_elements(params: Any, costs: Costs, loops_reduce: bool) -> int:
    """Returns the elements reduced over devices: each gradient once, or in each iteration of the loop that computes it.

    A word embedding shared with the masked-LM head has two gradients, which are reduced separately.
    """
    config = costs.config
    named = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    total = sum(leaf.size for leaf in named.values())
    head = sum(leaf.size for name, leaf in named.items() if "masked_lm_head/" in name)
    if head and config.tie_word_embeddings:
        head += config.vocab_size * config.embedding_size
        total += config.vocab_size * config.embedding_size
    if loops_reduce:
        of_layers = sum(leaf.size for name, leaf in named.items() if "/layer/" in name or "/layers/" in name)
        per_layer = of_layers // config.num_physical_layers
        total += len(config.layer_sequence()) * per_layer - of_layers + costs.word_chunks * head
    return total
