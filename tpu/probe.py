"""The subprocess in which the doctor starts JAX: `python -m tpu.probe REQUEST`, a `tpu.probing.ProbeRequest` as JSON.

Prints {"stage": NAME} when a stage starts and {"stage": NAME, "result": ...} when it ends.
"""

import json
import sys
import time
from typing import Any

# Per device: large enough that bandwidth dominates the time, small enough for any device.
_COLLECTIVE_BYTES = 16 * 2**20
_REPETITIONS = 5


def main(argv: list[str]) -> None:
    """Runs the stages; an exception in JAX ends the process with its traceback."""
    request = json.loads(argv[0])
    if request["distributed"]:
        _report("initialize")
        _report("initialize", _initialize(request))
    _report("devices")
    _report("devices", _devices())
    _report("collective")
    _report("collective", _collective())


def _report(stage: str, result: dict[str, Any] | None = None) -> None:
    print(json.dumps({"stage": stage} if result is None else {"stage": stage, "result": result}), flush=True)


def _initialize(request: dict[str, Any]) -> dict[str, Any]:
    import jax

    jax.distributed.initialize(
        coordinator_address=request["coordinator"],
        num_processes=request["num_processes"],
        process_id=request["process_id"],
        initialization_timeout=int(request["timeout_seconds"]),
    )
    return {"process_count": jax.process_count(), "process_index": jax.process_index()}


def _devices() -> dict[str, Any]:
    import jax

    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": jax.device_count(),
        "local_count": jax.local_device_count(),
        "memory_bytes": stats.get("bytes_limit"),
    }


def _collective() -> dict[str, Any]:
    """Computes an all-reduce over the local devices.

    Returns:
      Whether the sum is correct and, for two or more devices, the bandwidth per device in bytes per second: a ring
      all-reduce sends 2 (n - 1) / n of each device's part, in the shortest time of a few repetitions.
    """
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    devices = jax.local_devices()
    count, length = len(devices), _COLLECTIVE_BYTES // 4
    mesh = Mesh(np.array(devices), ("device",))
    parts = np.repeat(np.arange(1, count + 1, dtype=np.float32), length)
    parts = jax.device_put(parts, NamedSharding(mesh, PartitionSpec("device")))
    add = jax.jit(
        jax.shard_map(
            lambda part: jax.lax.psum(part, "device"),
            mesh=mesh,
            in_specs=PartitionSpec("device"),
            out_specs=PartitionSpec(),
        )
    )
    total = add(parts).block_until_ready()
    correct = all(bool((np.asarray(copy.data) == count * (count + 1) / 2).all()) for copy in total.addressable_shards)
    seconds = min(_seconds(add, parts) for _ in range(_REPETITIONS))
    sent = _COLLECTIVE_BYTES * 2 * (count - 1) / count
    return {"devices": count, "correct": correct, "bytes_per_second": sent / seconds if count > 1 else None}


def _seconds(function: Any, argument: Any) -> float:
    started = time.perf_counter()
    function(argument).block_until_ready()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(sys.argv[1:])
