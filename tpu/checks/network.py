"""Checks of several processes: the coordinator's port, and whether all processes join."""

import errno
import os
import socket

from tpu.machine import Finding, Machine, failure, not_applicable, ok, warning

# JAX 0.8.1 changed its default port from 8476, which the firewall rule of a TPU pod opens, to 8482, which it does not
# (jax issue 35905).
_OPEN_PORT, _CLOSED_PORT = 8476, 8482
_CLOSED = f"port {_CLOSED_PORT} is not in a TPU pod's firewall rule"
_CONNECT_SECONDS = 5


def coordinator(machine: Machine) -> Finding:
    """Checks the port of process 0: free on its own machine, reachable from another."""
    given = machine.options.coordinator
    if given is None:
        return _default_port(machine)
    host, port = given
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        return failure(f"{host} has no address: {error.strerror}", "give the coordinator's internal address")
    found = _bind(address, host, port) if _is_local(address) else _connect(address, host, port)
    if found.status == "ok" and port == _CLOSED_PORT and "tpu" in machine.accelerators():
        return warning(f"{_CLOSED}; {found.message}", f"give port {_OPEN_PORT}")
    return found


def workers(machine: Machine) -> Finding:
    """Checks that all processes join within the time limit."""
    if machine.processes == 1:
        return not_applicable("one process")
    probe, expected = machine.probe, machine.processes
    found = probe.stages.get("initialize")
    if found is None:
        return failure(
            f"{expected} processes did not find each other ({probe.failed_at}): {probe.error}",
            f"run this on all workers at once (--worker=all), with JAX_COORDINATOR_PORT={_OPEN_PORT} on a TPU pod, "
            "whose firewall opens that port",
        )
    if found["process_count"] != expected:
        return failure(f"{found['process_count']} processes answer, {expected} are expected", "run this on all workers")
    return ok(f"all {expected} processes answer")


def _default_port(machine: Machine) -> Finding:
    if machine.processes == 1 or "tpu" not in machine.accelerators():
        return not_applicable("one process" if machine.processes == 1 else "no --coordinator, and no TPU")
    port = machine.environ.get("JAX_COORDINATOR_PORT", str(_CLOSED_PORT))
    if port == str(_CLOSED_PORT):
        return warning(
            f"{_CLOSED}; JAX would use it",
            f"export JAX_COORDINATOR_PORT={_OPEN_PORT} (tpu/launch.sh does)",
        )
    return ok(f"the coordinator's port is {port} (JAX_COORDINATOR_PORT)")


def _is_local(address: tuple) -> bool:
    """Whether an address belongs to this machine, that is, can be bound."""
    family, kind, protocol, _, (ip, *_) = address
    with socket.socket(family, kind, protocol) as probe:
        try:
            probe.bind((ip, 0))
        except OSError:
            return False
    return True


def _bind(address: tuple, host: str, port: int) -> Finding:
    family, kind, protocol, _, where = address
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as JAX's server does: ignores TIME_WAIT
        try:
            probe.bind(where)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return failure(
                    f"{host}:{port} cannot be used: {os.strerror(error.errno or 0)}", "give a port above 1023"
                )
            return failure(
                f"{host}:{port} is in use here, by a running job or by one that was left over",
                f"ss -ltnp 'sport = :{port}' names the process; wait for it, end it, or give another port",
            )
    return ok(f"{host}:{port} is free on this machine")


def _connect(address: tuple, host: str, port: int) -> Finding:
    family, kind, protocol, _, where = address
    with socket.socket(family, kind, protocol) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(where)
        except ConnectionRefusedError:
            return ok(f"{host} answers; nothing listens on port {port} yet, as expected before a job starts")
        except OSError as error:
            return failure(
                f"{host}:{port} cannot be reached: {error.strerror or f'no answer in {_CONNECT_SECONDS} s'}",
                f"open the port between the workers in the firewall, or use an open one ({_OPEN_PORT} on a TPU pod)",
            )
    return ok(f"{host}:{port} answers")
