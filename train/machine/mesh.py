"""The device mesh: its shape, the sharding of batches, and messages about the devices.

The mesh has two axes. Both split the batch; `fsdp` also shards large parameters and their optimizer state, by the
rules of `flax_lite.models.params`.
"""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from flax_lite.models.params import gathered
from train.errors import UserError
from train.machine.process_count import TPU_FILES

AXES = ("data", "fsdp")
AXIS_TYPES = (AxisType.Auto, AxisType.Auto)
BATCH = PartitionSpec(AXES)


def mesh_sizes(data: int, fsdp: int, present: int) -> tuple[int, int]:
    """Returns the sizes of the axes "data" and "fsdp".

    Args:
      data: devices along "data"; -1: all remaining ones.
      fsdp: devices along "fsdp"; -1: all remaining ones.
      present: the number of devices.

    Raises:
      UserError: the sizes do not fit the devices.
    """
    sizes = [data, fsdp]
    if sizes.count(-1) > 1 or 0 in sizes:
        raise UserError(f"mesh.data={data} and mesh.fsdp={fsdp}: expected positive sizes, at most one of them -1")
    if -1 in sizes:
        known = max(sizes)
        if present % known:
            raise UserError(f"mesh.data={data} and mesh.fsdp={fsdp}: {present} devices are not a multiple of {known}")
        sizes[sizes.index(-1)] = present // known
    used = math.prod(sizes)
    if used > present or (jax.process_count() > 1 and used != present):
        raise UserError(f"mesh.data={data} and mesh.fsdp={fsdp} need {used} devices, there are {present}")
    return sizes[0], sizes[1]


def devices_of(values: Mapping[str, Any]) -> int:
    """Returns the number of devices of the mesh that a job's options ask for. Raises as `mesh_sizes`."""
    return math.prod(mesh_sizes(values["mesh.data"], values["mesh.fsdp"], jax.device_count()))


def make_mesh(data: int, fsdp: int) -> Mesh:
    """Arranges the devices in a mesh. Arguments and errors are those of `mesh_sizes`.

    Returns:
      A mesh with Auto axes. (Explicit axes, the default of jax.make_mesh, refuse plain embedding lookups in
      sharded tables.)
    """
    sizes = mesh_sizes(data, fsdp, jax.device_count())
    return jax.make_mesh(sizes, AXES, axis_types=AXIS_TYPES, devices=jax.devices()[: math.prod(sizes)])


def check_batch_size(batch_size: int, accumulation_steps: int, devices: int) -> None:
    """Raises UserError, naming the nearest valid sizes, unless each micro-batch divides equally over the devices."""
    unit = accumulation_steps * devices
    if batch_size % unit:
        below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
        sizes = f"{below} or {above}" if below else str(above)
        raise UserError(
            f"batch_size={batch_size} cannot be shared equally: accumulation_steps={accumulation_steps} x "
            f"{devices} devices = {unit}. Nearest valid sizes: {sizes}"
        )


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Transfers a batch to the devices, with its rows sharded over both axes.

    Args:
      batch: arrays with the batch as first axis; with several hosts, this host's slice.
      mesh: the devices of all hosts.

    Raises:
      UserError: the rows do not divide over this host's devices.
    """
    sharding = NamedSharding(mesh, BATCH)
    devices = mesh.local_mesh.size
    for name, array in batch.items():
        if not array.ndim or array.shape[0] % devices:
            raise UserError(f"batch entry {name} of shape {array.shape} cannot be split over {devices} devices")
    return {name: jax.make_array_from_process_local_data(sharding, array) for name, array in batch.items()}


def on_whole_parameters(eval_step: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps an evaluation step so that each device first gathers the whole parameters and constants."""

    def step(params: Any, batch: Any, *constants: Any) -> Any:
        return eval_step(gathered(params), batch, *gathered(constants))

    return step


def fetch(outputs: Any) -> Any:
    """Copies a step's outputs to this host as NumPy arrays, gathering arrays that are sharded over several hosts."""
    if jax.process_count() == 1:
        return jax.device_get(outputs)
    from jax.experimental import multihost_utils

    def whole(array: jax.Array) -> np.ndarray:
        if array.is_fully_replicated:
            return jax.device_get(array)
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))

    return jax.tree.map(whole, outputs)


def device_line(mesh: Mesh) -> str:
    """Returns one line about the devices that the job runs on."""
    device = mesh.devices.flat[0]
    line = f"device: {mesh.size} x {device.device_kind} ({device.platform}), mesh data={mesh.shape['data']}"
    line += f" fsdp={mesh.shape['fsdp']}"
    unused = jax.device_count() - mesh.size
    return f"{line}; {unused} more unused" if unused else line


def unused_accelerator(root: Path = Path("/dev")) -> str | None:
    """Returns a warning if this machine seems to have an accelerator that JAX does not use, else None."""
    if jax.default_backend() != "cpu":
        return None
    for kind, patterns in {"GPU": ("nvidia[0-9]*",), "TPU": TPU_FILES}.items():
        found = sorted(str(path) for pattern in patterns for path in root.glob(pattern))
        if found:
            forced = os.environ.get("JAX_PLATFORMS")
            extra = {"GPU": "cuda", "TPU": "tpu"}[kind]
            cause = f"JAX_PLATFORMS={forced} is set" if forced else f"install flax-lite[{extra}] to use it"
            return f"WARNING: training on the CPU, but this machine seems to have a {kind} ({found[0]}): {cause}"
    return None
