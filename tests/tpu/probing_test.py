"""JAX in a subprocess: its results, its failures, and the time limit."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from tpu.probing import ProbeRequest, run_probe


@pytest.fixture
def environ():
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


def python(program):
    return (sys.executable, "-c", program)


def test_probe_of_one_device_measures_no_bandwidth(environ):
    probe = run_probe(ProbeRequest(timeout_seconds=120), {**environ, "XLA_FLAGS": ""})
    assert probe.stages["collective"] == {"devices": 1, "correct": True, "bytes_per_second": None}


def test_probe_reports_a_missing_platform(environ):
    probe = run_probe(ProbeRequest(timeout_seconds=120), {**environ, "JAX_PLATFORMS": "tpu,cpu"})
    assert probe.failed_at == "devices"
    assert "tpu" in probe.error
    assert not probe.timed_out


def test_probe_that_hangs_is_killed_with_its_children(environ, tmp_path):
    program = (
        "import json, subprocess, sys, time\n"
        f"child = subprocess.Popen(['sleep', '600'])\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "print(json.dumps({'stage': 'devices'}), flush=True)\ntime.sleep(600)"
    )
    started = time.monotonic()
    probe = run_probe(ProbeRequest(timeout_seconds=1), environ, python(program))
    assert time.monotonic() - started < 30
    assert probe.timed_out
    assert probe.failed_at == "devices"
    assert probe.error == "not done after 1 s"
    assert not alive(int((tmp_path / "pid").read_text()))


def test_probe_that_aborts_keeps_completed_stages(environ):
    program = (
        'import os, sys\nprint(\'{"stage": "devices", "result": {"count": 4}}\')\nprint(\'{"stage": "collective"}\')\n'
        "print('noise')\nsys.stdout.flush()\nsys.stderr.write('F0000 fatal\\n')\nsys.stderr.flush()\nos.abort()"
    )
    probe = run_probe(ProbeRequest(), environ, python(program))
    assert probe.stages == {"devices": {"count": 4}}
    assert probe.failed_at == "collective"
    assert "F0000 fatal" in probe.error


def test_probe_reports_processes_that_do_not_join(environ):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    request = ProbeRequest(
        distributed=True, coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=0, timeout_seconds=3
    )
    probe = run_probe(request, environ)
    assert probe.failed_at == "initialize"
    assert probe.timed_out or "DEADLINE_EXCEEDED" in probe.error or "RegisterTask" in probe.error, probe.error


def test_probe_of_two_processes(environ):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    probes = {}

    def start(number):
        request = ProbeRequest(
            distributed=True, coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=number, timeout_seconds=120
        )
        probes[number] = run_probe(request, environ)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, probe in probes.items():
        assert probe.failed_at is None, probe.error
        assert probe.stages["initialize"] == {"process_count": 2, "process_index": number}
        assert probe.stages["devices"] == {
            "platform": "cpu",
            "kind": "cpu",
            "count": 4,
            "local_count": 2,
            "memory_bytes": None,
        }
        result = probe.stages["collective"]
        assert (result["devices"], result["correct"]) == (2, True)
        assert result["bytes_per_second"] > 0


def alive(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")
