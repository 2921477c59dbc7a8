"""Multi-host jobs: one process per host (or per accelerator), joined by JAX's distributed runtime.

All hosts run the same command and the same steps; only host 0 writes the work directory and prints. Hosts must agree
before any of them acts on local information, or the others wait for it in a collective: use `sync_errors` for code that
may fail on one host, `broadcast_from_host0` for decisions of host 0, and `gather` for values that differ by host.

If a host is lost, JAX aborts the processes of the others (SIGABRT) after `hosts.heartbeat_seconds`.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from train.errors import JobError, StopError, UserError
from train.machine.process_count import processes_of_environment

# Longer than hosts differ in the time from the last step to the end of the process.
_SHUTDOWN_SECONDS = 60
# Messages of gloo and of the coordination service when they notice a lost host before JAX aborts the process.
_LOST_HOST_MESSAGES = (
    *("Gloo", "Connection closed by peer", "Connection reset by peer"),
    *("stopped sending heartbeats", "heartbeat timeout"),  # the second from a barrier, which Orbax uses in each save
)
_PACKET = 4096  # bytes; messages are padded to a multiple, so that few programs are compiled


class HostError(JobError):
    """An error on another host, with that host's exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def count() -> int:
    """Returns the number of processes of this job."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this process is host 0, which writes the work directory and prints."""
    return jax.process_index() == 0


def join(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_seconds: int,
    initialization_seconds: int,
) -> None:
    """Joins the other hosts, if there are any. Call it before the first computation.

    Args:
      coordinator: HOST:PORT of process 0; None: from the environment.
      num_processes: the number of processes; required with `coordinator`.
      process_id: the index of this process; required with `coordinator`.
      heartbeat_seconds: time without a heartbeat after which a host counts as lost.
      initialization_seconds: time to wait until all hosts have joined.

    Raises:
      UserError: the arguments are inconsistent.
      StopError: the other hosts did not join in time. (If host 0 waits in vain, JAX aborts it.)
    """
    given = (coordinator, num_processes, process_id)
    if any(value is not None for value in given) and None in given:
        raise UserError("several hosts need all of --coordinator HOST:PORT, --num_processes N and --process_id I")
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id}: expected 0 to {num_processes - 1}")
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise UserError(f"--coordinator={coordinator}: expected HOST:PORT, for example 10.0.0.2:8476")
    if (num_processes or processes_of_environment(os.environ)) < 2:
        return
    where = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS") or "the coordinator that the environment names"
    print(f"joining the other hosts at {where}, for at most {initialization_seconds} s", flush=True)
    if coordinator is not None and process_id:
        _await_coordinator(coordinator, initialization_seconds)
    # JAX's SIGTERM handler would replace ours (train.machine.signals) and take effect only during steps.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=heartbeat_seconds,
            initialization_timeout=initialization_seconds,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
            # With explicit flags, JAX would otherwise still ask Slurm which local devices to use.
            cluster_detection_method="deactivate" if coordinator else None,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise StopError(_not_joined(where, initialization_seconds, error)) from error
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for the rest of the process)


def _await_coordinator(address: str, seconds: int) -> None:
    """Raises StopError unless the coordinator accepts a connection in time; JAX would abort silently."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=max(deadline - time.monotonic(), 0.1)):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise StopError(_not_joined(address, seconds, error)) from error
        time.sleep(min(0.5, seconds))


def _not_joined(where: str, seconds: int, error: Exception) -> str:
    return (
        f"could not join the other hosts at {where} within {seconds} s: {str(error).strip().partition(chr(10))[0]}. "
        "Run the same command on every host at the same time, with process 0 at that address, and open its port "
        "between the hosts (on TPU slices and under Slurm, JAX_COORDINATOR_PORT sets another port). "
        "hosts.initialization_seconds sets the time limit"
    )


def name() -> str:
    """Returns the name of this host in messages: "host 1 of 4"."""
    return f"host {jax.process_index()} of {count()}"


def is_joined() -> bool:
    """Whether this process has joined other hosts."""
    return jax.distributed.is_initialized()


def leave(status: int, error: BaseException | None) -> None:
    """Disconnects from the other hosts, or ends the process if only this host failed.

    An orderly shutdown needs all hosts. A host that fails alone must not wait for the others, because they are in a
    collective that waits for it.
    """
    if not is_joined():
        return
    if error is not None and not getattr(error, "raised_everywhere", False):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    jax.distributed.shutdown()


def lost_another(error: BaseException) -> bool:
    """Whether an error, or one of its causes, comes from a collective that lost another host."""
    if isinstance(error, jax.errors.JaxRuntimeError) and any(text in str(error) for text in _LOST_HOST_MESSAGES):
        return True
    return error.__cause__ is not None and lost_another(error.__cause__)


def raised_everywhere(error: BaseException) -> BaseException:
    """Marks an error as raised by every host at the same point, and returns it."""
    error.raised_everywhere = True  # pyright: ignore[reportAttributeAccessIssue]
    return error


@contextlib.contextmanager
def sync_errors(name: str) -> Iterator[None]:
    """Waits at the end of its body for all hosts; if the body failed on any host, raises on all.

    Args:
      name: describes the body; the same on all hosts.

    Raises:
      HostError: the body succeeded here and failed on another host.
    """
    if count() == 1:
        yield
        return
    try:
        yield
    except Exception as error:
        if not getattr(error, "raised_everywhere", False):
            _exchange(name, failure={"status": getattr(error, "status", 1), "message": str(error) or repr(error)})
            raised_everywhere(error)
        raise
    _exchange(name)


def gather(name: str, value: Any) -> list[Any]:
    """Returns every host's value, which JSON can represent, in the order of the hosts.

    Raises:
      HostError: a host failed before it reached this call.
    """
    return [value] if count() == 1 else [packet["value"] for packet in _exchange(name, value=value)]


def broadcast_from_host0(name: str, value: Any) -> Any:
    """Returns host 0's value, which JSON can represent, on all hosts. Raises as `gather`."""
    return value if count() == 1 else gather(name, value if is_first() else None)[0]


def _exchange(name: str, **packet: Any) -> list[dict[str, Any]]:
    """Sends a packet to all hosts and returns the packets of all; raises if one reports a failure."""
    packets = _all_packets({"name": name, **packet})
    if "failure" in packet:
        return packets
    for host, other in enumerate(packets):
        if failure := other.get("failure"):
            raise raised_everywhere(HostError(f"host {host}: {failure['message']}", failure["status"]))
        if other["name"] != name:
            raise RuntimeError(f"host {host} is at {other['name']}, this one at {name}")
    return packets


def _all_packets(packet: dict[str, Any]) -> list[dict[str, Any]]:
    from jax.experimental import multihost_utils

    data = json.dumps(packet).encode()
    sizes = multihost_utils.process_allgather(np.int32(len(data)))
    padded = np.zeros(-(-int(sizes.max()) // _PACKET) * _PACKET, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]
