"""Checks of several processes: each fault is simulated and has to be reported."""

import errno
import http.server
import socket
import threading

import pytest

from tests.tpu.machines import probed, stopped
from tpu.checks import network

FOUND = {"process_count": 4, "process_index": 0}


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "a[1-2]", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


def test_coordinator_port_that_is_free_here_is_ok(machines, free):
    found = network.coordinator(machines.make(coordinator=("localhost", free)))
    assert found.status == "ok"
    assert "is free" in found.message


def test_coordinator_port_in_use_here_is_a_failure(machines, listening):
    found = network.coordinator(machines.make(coordinator=("127.0.0.1", listening)))
    assert found.status == "failure"
    assert "is in use here" in found.message
    assert f"sport = :{listening}" in found.cure


@pytest.fixture
def remote(monkeypatch):
    """Treats 127.0.0.1 as another machine's address."""
    monkeypatch.setattr(network, "_is_local", lambda address: False)


@pytest.mark.usefixtures("remote")
def test_coordinator_on_another_machine_is_reached(machines, listening, free):
    assert network.coordinator(machines.make(coordinator=("127.0.0.1", listening))).message.endswith("answers")
    found = network.coordinator(machines.make(coordinator=("127.0.0.1", free)))
    assert found.status == "ok"
    assert "nothing listens" in found.message


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize("error", [TimeoutError("timed out"), OSError(errno.EHOSTUNREACH, "No route to host")])
def test_coordinator_behind_a_firewall_is_a_failure(machines, monkeypatch, error):
    def connect(self, where):
        raise error

    monkeypatch.setattr(network.socket, "socket", type("Socket", (socket.socket,), {"connect": connect}))
    found = network.coordinator(machines.make(coordinator=("127.0.0.1", 8482)))
    assert found.status == "failure"
    assert "cannot be reached" in found.message
    assert "firewall" in found.cure
    assert "8476" in found.cure


def test_coordinator_without_an_address_is_a_failure(machines, monkeypatch):
    def fail(*arguments, **more):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(network.socket, "getaddrinfo", fail)
    found = network.coordinator(machines.make(coordinator=("no-such-host", 8476)))
    assert found.status == "failure"
    assert "no-such-host has no address" in found.message


def test_coordinator_on_the_port_that_pods_close_is_a_warning(machines):
    """JAX's default since 0.8.1, given with --coordinator or used by default."""
    machines.device("accel0")
    pod = {"TPU_WORKER_HOSTNAMES": "a,b,c,d"}
    for machine in (
        machines.make(environ=pod),
        machines.make(environ={**pod, "JAX_COORDINATOR_PORT": "8482"}),
        machines.make(environ=pod, coordinator=("localhost", 8482)),
    ):
        found = network.coordinator(machine)
        assert found.status == "warning", found
        assert "8482" in found.message
        assert "8476" in found.cure
    assert network.coordinator(machines.make(environ={**pod, "JAX_COORDINATOR_PORT": "8476"})).status == "ok"


def test_coordinator_is_not_applicable_to_one_process(machines):
    machines.device("accel0")
    environ = {"GCE_METADATA_IP": "127.0.0.1:1"}
    assert network.coordinator(machines.make(environ=environ)).status == "not applicable"


def test_workers_that_all_answer_are_ok(machines):
    machine = machines.make(probed(initialize=FOUND), num_processes=4)
    assert network.workers(machine).message == "all 4 processes answer"
    assert network.workers(machines.make()).status == "not applicable"


def test_workers_that_do_not_answer_in_time_are_a_failure(machines):
    hung = stopped("initialize", "not done after 300 s", timed_out=True)
    found = network.workers(machines.make(hung, num_processes=4))
    assert found.status == "failure"
    assert "4 processes did not find each other" in found.message
    assert "JAX_COORDINATOR_PORT=8476" in found.cure


def test_workers_of_another_number_are_a_failure(machines):
    found = network.workers(machines.make(probed(initialize=FOUND), num_processes=8))
    assert found.status == "failure"
    assert "4 processes answer, 8 are expected" in found.message


def test_processes_are_counted_from_options_and_environment(machines):
    assert machines.make().processes == 1
    assert machines.make(environ={"TPU_WORKER_HOSTNAMES": "a,b"}).processes == 2
    assert machines.make(environ=SLURM | {"SLURM_NTASKS": "8"}).processes == 8
    assert machines.make(environ={"TPU_WORKER_HOSTNAMES": "a,b"}, num_processes=3).processes == 3


def test_processes_are_counted_from_the_metadata_of_a_tpu_vm(machines):
    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.headers["Metadata-Flavor"] == "Google"
            assert self.path.endswith("/attributes/worker-network-endpoints")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x:y:10.0.0.1,x:y:10.0.0.2,x:y:10.0.0.3,x:y:10.0.0.4")

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ = {"GCE_METADATA_IP": f"127.0.0.1:{server.server_port}"}
        assert machines.make(environ=environ).processes == 1
        machines.device("accel0")
        assert machines.make(environ=environ).processes == 4
        server.shutdown()
