"""What a run takes, from sizes alone: memory of a device, operations, what moves between devices, and time."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax

from flax_lite.models.flops import Costs
from flax_lite.models.params import path_name, tree_specs
from train.plan.memory import activation_bytes
from train.run.job import Job

_FLOAT32 = 4
# Share of the peak that a plan assumes. Published runs: BERT-base 24% on 8 A100 (mosaicml/examples, bert),
# a BERT of 4 billion parameters 55% (NVIDIA NeMo's page of results). None of ours has run on an accelerator.
UTILIZATION = 0.4


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A plan's numbers. Bytes are those of one device.

    Attributes:
        parameters: how many are trained.
        parameter_bytes: that stay on a device, float32.
        optimizer_bytes: of the optimizer's state.
        constant_bytes: of what the step reads beside, as a teacher's parameters.
        gathered_bytes: of the parameters as a step uses them: whole, in the compute dtype.
        gradient_bytes: of the gradients, whole.
        activation_bytes: of what the backward pass reads.
        flops: operations of a step, over all devices.
        tokens: places of a step's batch.
        collectives: bytes of the results of each kind of collective in a step.
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
        """All of a device's memory that is counted."""
        fields = ("parameter", "optimizer", "constant", "gathered", "gradient", "activation")
        return sum(getattr(self, f"{field}_bytes") for field in fields)

    def seconds(self, flops_per_second: float, devices: int, utilization: float) -> float:
        """Time of a step at a utilization of the devices' peak."""
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
    """Counts what a step of `batch` takes on a mesh of `sizes`.

    Args:
        job: what is to be trained.
        batch: the global batch, or its shapes.
        constants: what the step reads beside, or its shapes.
        sizes: of the axes "data" and "fsdp".
        accumulation_steps: micro-batches of a step.
        loops_reduce: whether the compiler leaves sums over devices in the loops over layers and over parts of a batch,
            as XLA's for CPUs does; that for TPUs adds up what a loop yields, and sums it over the devices once for each
            micro-batch.

    Raises:
        ValueError: the job does not know what it costs.
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
    leaves, specs = jax.tree.leaves(tree), jax.tree.leaves(tree_specs(tree, parts), is_leaf=_is_spec)
    pairs = zip(leaves, specs, strict=True)
    return sum(leaf.size * leaf.dtype.itemsize // (parts if any(spec) else 1) for leaf, spec in pairs)


def _split_elements(tree: Any, parts: int) -> int:
    leaves, specs = jax.tree.leaves(tree), jax.tree.leaves(tree_specs(tree, parts), is_leaf=_is_spec)
    return sum(leaf.size for leaf, spec in zip(leaves, specs, strict=True) if any(spec))


def _is_spec(value: Any) -> bool:
    return isinstance(value, jax.sharding.PartitionSpec)


def _gradient_elements(params: Any, costs: Costs, loops_reduce: bool) -> int:
    """Elements that are summed over the devices: each gradient once, or as often as a loop yields a part of it.

    A word table that is also the masked-LM head's gets two gradients, summed apart.
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
