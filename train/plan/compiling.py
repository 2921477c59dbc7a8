"""Compiles a step for devices that need not be present, in a subprocess, and reads memory and collectives.

A process can start JAX for one platform only, and compiling for another may take minutes or hang, so the plan runs this
in a subprocess with a time limit.

    python -m train.plan.compiling < {"job": "pretrain", "argv": ["--config", ...], "target": "v5e:2x4"}
"""

import dataclasses
import importlib
import os
import re
import sys
import time
from importlib import util

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from flax_lite.models.params import tree_shardings
from train.machine import child_process
from train.machine.chips import Target, parse_target
from train.machine.mesh import AXES, AXIS_TYPES, BATCH, make_mesh
from train.machine.signals import Guard
from train.options.command_line import parse
from train.plan.program import bytes_by_kind, collectives, memory
from train.plan.rehearsal import Planned, rehearse
from train.run.programs import abstract_state, jitted_step, with_shardings

_DEVICES = re.compile(r"--xla_force_host_platform_device_count=\d+")
# Elements; smaller arrays are norms, sums and losses.
_LARGE = 1024


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Properties of a compiled step. Bytes are per device.

    Attributes:
        seconds: time of lowering and compiling.
        memory: bytes of "arguments", "temporaries" and "program".
        collectives: result bytes of each kind of collective in a step, for arrays of 1024 elements or more.
        num_collectives: the number of collectives of each kind that a step runs, small ones included.
    """

    seconds: float
    memory: dict[str, int]
    collectives: dict[str, int]
    num_collectives: dict[str, int]


def compile_elsewhere(job: str, argv: list[str], target: Target, timeout_seconds: float) -> Compiled | str:
    """Compiles a job's step for a target in a subprocess; returns the result, or the reason why there is none."""
    if target.topology is not None and util.find_spec("libtpu") is None:
        return "no TPU compiler is installed: pip install 'flax-lite[tpu]' has one that needs no TPU"
    question = {"job": job, "argv": argv, "target": target.name}
    found = child_process.run("train.plan.compiling", question, compiler_environment(target), timeout_seconds)
    return found if isinstance(found, str) else Compiled(**found)


def compiler_environment(target: Target) -> dict[str, str]:
    """Returns the environment of a process that compiles for a target, whose devices are CPU devices or described."""
    flags = _DEVICES.sub("", os.environ.get("XLA_FLAGS", ""))
    if target.kind == "cpu":
        flags += f" --xla_force_host_platform_device_count={target.devices}"
    # Without TPU_SKIP_MDS_QUERY the TPU compiler queries the network for the machine's metadata.
    more = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "XLA_FLAGS": flags.strip()}
    return {**os.environ, **more, "JAX_ENABLE_COMPILATION_CACHE": "false"}


def compile_step(planned: Planned) -> Compiled:
    """Compiles a planned job's step for its target."""
    mesh = target_mesh(planned.target, planned.sizes)
    abstract, shardings = abstract_state(planned.job, mesh)
    constants = with_shardings(planned.constants, tree_shardings(planned.constants, mesh))
    rows = NamedSharding(mesh, BATCH)
    batch = {
        name: jax.ShapeDtypeStruct(array.shape, jax.dtypes.canonicalize_dtype(array.dtype), sharding=rows)
        for name, array in planned.batch.items()
    }
    started = time.monotonic()
    with jax.set_mesh(mesh):
        compiled = jitted_step(planned.job, shardings, mesh).lower(abstract, batch, *constants).compile()
    seconds = time.monotonic() - started
    found = collectives(compiled.as_text())
    counts: dict[str, int] = {}
    for each in found:
        counts[each.kind] = counts.get(each.kind, 0) + each.times
    return Compiled(seconds, memory(compiled), bytes_by_kind(found, _LARGE), counts)


def target_mesh(target: Target, sizes: tuple[int, int]) -> Mesh:
    """Returns the mesh of a target's devices to compile for; those of a TPU slice need not be present."""
    if target.topology is None:
        return make_mesh(*sizes)
    from jax.experimental import topologies

    topology = topologies.get_topology_desc(platform="tpu", topology_name=target.name)
    devices = np.array(topology.devices)[: sizes[0] * sizes[1]]
    return Mesh(devices.reshape(sizes), AXES, axis_types=AXIS_TYPES)


def main() -> int:
    """Reads a request from standard input and prints the compiled step's properties."""
    question = child_process.read_request()
    module = importlib.import_module(f"train.{question['job']}")
    request = parse(question["job"], module.OPTIONS, question["argv"], Guard())
    if request is None:
        return 2
    with rehearse(module.rehearsal(request), parse_target(question["target"])) as planned:
        child_process.write_answer(dataclasses.asdict(compile_step(planned)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
