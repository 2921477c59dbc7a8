"""Several hosts: one process on each (or on each accelerator), joined by JAX's distributed runtime.

All run the same command and the same steps; host 0 alone keeps the work directory and prints. What one host finds out
by itself has to reach all before any of them acts on it, or the others wait for it in a collective: `sync_errors` is
for what may fail on one, `broadcast_from_host0` for what host 0 decides, `gather` for what each has its own answer to.

A host that is lost is missed after `hosts.heartbeat_seconds`: JAX then aborts the processes of the others (SIGABRT).
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

# Longer than the difference in time that hosts need from the last step to the end.
_SHUTDOWN_SECONDS = 60
# What gloo and the coordination service say, where they notice before JAX aborts the process.
_MISSING = (
    *("Gloo", "Connection closed by peer", "Connection reset by peer"),
    *("stopped sending heartbeats", "heartbeat timeout"),  # the latter of a barrier, as Orbax has one in each save
)
_PACKET = 4096  # bytes; a round number of them, so that few programs are compiled


class HostError(JobError):
    """What went wrong on another host, with its status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def count() -> int:
    """The number of processes that run this job together."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this process keeps the work directory and speaks for all."""
    return jax.process_index() == 0


def join(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_seconds: int,
    initialization_seconds: int,
) -> None:
    """Joins the other hosts, where there are any. Before the first computation.

    Args:
      coordinator: HOST:PORT of process 0; None: as the environment says.
      num_processes: how many there are; given with `coordinator`.
      process_id: which of them this is; given with `coordinator`.
      heartbeat_seconds: time after which a silent host counts as lost.
      initialization_seconds: time to wait for all to come.

    Raises:
      UserError: the arguments do not fit each other.
      StopError: the others were not found in time. (Host 0, where nobody comes, is aborted by JAX.)
    """
    given = (coordinator, num_processes, process_id)
    if any(value is not None for value in given) and None in given:
        raise UserError("several hosts need all of --coordinator HOST:PORT, --num_processes N and --process_id I")
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id}: expected 0 to {num_processes - 1}")
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise UserError(f"--coordinator={coordinator}: expected HOST:PORT, as 10.0.0.2:8476")
    if (num_processes or processes_of_environment(os.environ)) < 2:
        return
    where = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS") or "the coordinator that the environment names"
    print(f"joining the other hosts at {where}, for at most {initialization_seconds} s", flush=True)
    if coordinator is not None and process_id:
        _await_coordinator(coordinator, initialization_seconds)
    # Its handler would take the place of ours (train.machine.signals), and SIGTERM would be heard in steps only.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=heartbeat_seconds,
            initialization_timeout=initialization_seconds,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
            # Flags say which process this is; Slurm would still be asked which devices it has.
            cluster_detection_method="deactivate" if coordinator else None,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise StopError(_not_joined(where, initialization_seconds, error)) from error
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for the rest of the process)


def _await_coordinator(address: str, seconds: int) -> None:
    """Raises StopError unless somebody listens there in time: JAX itself would abort the process without a word."""
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
        "The same command has to run on every host at the same time, process 0 at that address, and its port has to be "
        "open between them (of TPU slices and Slurm, JAX_COORDINATOR_PORT chooses another). "
        "hosts.initialization_seconds gives them more time"
    )


def name() -> str:
    """Which host this is, as "host 1 of 4"."""
    return f"host {jax.process_index()} of {count()}"


def is_joined() -> bool:
    """Whether this process runs with others."""
    return jax.distributed.is_initialized()


def leave(status: int, error: BaseException | None) -> None:
    """Parts from the other hosts; returns unless they go on without this one, which ends the process.

    To part in order takes all hosts. One that fails by itself must not wait for them: they are in a collective that
    waits for it.
    """
    if not is_joined():
        return
    if error is not None and not getattr(error, "everywhere", False):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    jax.distributed.shutdown()


def lost_another(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is that of a collective in which another host is missing."""
    if isinstance(error, jax.errors.JaxRuntimeError) and any(words in str(error) for words in _MISSING):
        return True
    return error.__cause__ is not None and lost_another(error.__cause__)


def everywhere(error: BaseException) -> BaseException:
    """Marks an error that every host raises at the same place, and returns it."""
    error.everywhere = True  # pyright: ignore[reportAttributeAccessIssue]
    return error


@contextlib.contextmanager
def sync_errors(place: str) -> Iterator[None]:
    """Runs its body on every host and returns when all are done; where it failed on any, it fails on all.

    Args:
      place: a name for what is done, the same on all hosts.

    Raises:
      HostError: it went well here, but not on another host.
    """
    if count() == 1:
        yield
        return
    try:
        yield
    except Exception as error:
        if not getattr(error, "everywhere", False):
            _exchange(place, failure={"status": getattr(error, "status", 1), "message": str(error) or repr(error)})
            everywhere(error)
        raise
    _exchange(place)


def gather(place: str, value: Any) -> list[Any]:
    """Every host's value, as JSON has it, in the order of the hosts.

    Raises:
      HostError: a host failed instead of coming here.
    """
    return [value] if count() == 1 else [packet["value"] for packet in _exchange(place, value=value)]


def broadcast_from_host0(place: str, value: Any) -> Any:
    """Host 0's value on all hosts, as JSON has it. Raises as `gather`."""
    return value if count() == 1 else gather(place, value if is_first() else None)[0]


def _exchange(place: str, **packet: Any) -> list[dict[str, Any]]:
    """Sends a packet to all hosts and returns theirs, unless one of them tells of a failure."""
    packets = _all_packets({"place": place, **packet})
    if "failure" in packet:
        return packets
    for host, other in enumerate(packets):
        if failure := other.get("failure"):
            raise everywhere(HostError(f"host {host}: {failure['message']}", failure["status"]))
        if other["place"] != place:
            raise RuntimeError(f"host {host} is at {other['place']}, this one at {place}")
    return packets


def _all_packets(packet: dict[str, Any]) -> list[dict[str, Any]]:
    from jax.experimental import multihost_utils

    data = json.dumps(packet).encode()
    sizes = multihost_utils.process_allgather(np.int32(len(data)))
    padded = np.zeros(-(-int(sizes.max()) // _PACKET) * _PACKET, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]
