"""Checks of the accelerators: each fault is simulated and has to be reported."""

import os

import pytest

from tests.tpu.machines import CPU, SUM, TPU, probed, stopped
from tpu.checks import devices


def test_holders_names_process_command_and_chip(machines):
    machines.device("accel0")
    machines.process(4242, "python -m train.pretrain", "/dev/null", "/dev/accel0")
    machines.process(4243, "sleep 1", "/dev/null")
    found = devices.holders(machines.make())
    assert found.status == "failure"
    assert found.message == "process 4242 (python -m train.pretrain) has /dev/accel0 open"
    assert "kill 4242" in found.cure


def test_holders_recognizes_the_newer_device_files(machines):
    machines.device("vfio/0")
    machines.process(17, "jupyter", "/dev/vfio/0", "/dev/vfio/1", "/dev/vfio/vfio")
    assert "process 17 (jupyter) has /dev/vfio/0, /dev/vfio/1 open" in devices.holders(machines.make()).message


def test_holders_ignores_its_own_process(machines):
    machines.device("accel0")
    machines.process(os.getpid(), "doctor", "/dev/accel0")
    assert devices.holders(machines.make()).status == "ok"
    assert devices.holders(machines.make()).message == "no process has a TPU chip open"


def test_holders_ignores_processes_that_end_meanwhile(machines):
    machines.device("accel0")
    (machines.folder / "proc" / "99").mkdir()
    assert devices.holders(machines.make()).status == "ok"


def test_holders_warns_about_unreadable_processes(machines, monkeypatch):
    machines.device("accel0")
    machines.process(4242, "secret", "/dev/accel0")

    def refuse(path):
        raise PermissionError

    monkeypatch.setattr(devices, "_open_chips", refuse)
    found = devices.holders(machines.make())
    assert found.status == "warning"
    assert "1 could not be read" in found.message
    assert "root" in found.cure


def test_holders_warns_about_another_users_lock_file(machines, monkeypatch):
    machines.device("accel0")
    (machines.folder / "tmp" / "libtpu_lockfile").touch()
    assert devices.holders(machines.make()).status == "ok"
    monkeypatch.setattr(devices.os, "access", lambda path, mode: False)
    found = devices.holders(machines.make())
    assert found.status == "warning"
    assert found.cure == "sudo rm /tmp/libtpu_lockfile"


def test_holders_is_not_applicable_without_a_tpu(machines):
    machines.device("nvidia0")
    assert devices.holders(machines.make()).status == "not applicable"


@pytest.mark.parametrize(("device", "extra"), [("accel0", "tpu"), ("vfio/0", "tpu"), ("nvidia0", "cuda")])
def test_backend_cpu_on_a_machine_with_an_accelerator_is_a_failure(machines, device, extra):
    machines.device(device)
    found = devices.backend(machines.make(probed(CPU)))
    assert found.status == "failure"
    assert f"/dev/{device} exists, but JAX fell back to the CPU" in found.message
    assert f"JAX_PLATFORMS={extra},cpu" in found.cure


def test_backend_names_the_variable_that_forces_the_cpu(machines):
    machines.device("accel0")
    found = devices.backend(machines.make(probed(CPU), environ={"JAX_PLATFORMS": "cpu"}))
    assert found.status == "failure"
    assert "JAX_PLATFORMS=cpu" in found.message
    assert found.cure == "unset JAX_PLATFORMS"


def test_backend_is_ok_or_not_applicable(machines):
    assert devices.backend(machines.make(probed(CPU))).status == "not applicable"
    machines.device("accel0")
    assert devices.backend(machines.make()).message == "JAX uses tpu"
    assert devices.backend(machines.make(stopped("devices"))).status == "not applicable"


def test_devices_as_expected_are_ok(machines):
    found = devices.devices(machines.make(expect_devices=8, expect_platform="tpu"))
    assert found.status == "ok"
    assert found.message == "8 x TPU v5 lite (tpu)"
    pod = probed({**TPU, "count": 16, "local_count": 4})
    assert devices.devices(machines.make(pod)).message == "16 x TPU v5 lite (tpu), 4 of them here"


def test_devices_of_another_kind_or_number_are_a_failure(machines):
    found = devices.devices(machines.make(probed(CPU), expect_platform="tpu"))
    assert found.status == "failure"
    assert "1 x cpu (cpu), but tpu is expected" in found.message
    found = devices.devices(machines.make(expect_devices=16))
    assert found.status == "failure"
    assert "but 16 are expected" in found.message


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        ("ABORTED: The TPU is already in use by process with pid 4242", "holders"),
        ("GetChip(0)->location() failed", "37230"),
        ("Unable to initialize backend 'tpu'", "tpu/create.sh"),
        ("Unknown backend: 'tpu' requested", "install the extra"),
        ("DEADLINE_EXCEEDED: RegisterTask", "all workers at once"),
        ("something new", "the full message"),
    ],
)
def test_devices_that_do_not_start_have_a_cure(machines, error, cure):
    found = devices.devices(machines.make(stopped("devices", error)))
    assert found.status == "failure"
    assert error in found.message
    assert cure in found.cure


def test_devices_that_hang_are_a_finding(machines):
    found = devices.devices(machines.make(stopped("devices", "not done after 300 s", timed_out=True)))
    assert found.status == "failure"
    assert "not done after 300 s" in found.message
    assert "all of them at once" in found.cure


def test_devices_leave_failures_to_join_to_workers(machines):
    assert devices.devices(machines.make(stopped("initialize"))).status == "not applicable"


def test_collective_reports_its_bandwidth(machines):
    assert devices.collective(machines.make()).message == "all-reduce over 8 devices: 40.00 GB/s each"
    alone = probed(collective={"devices": 1, "correct": True, "bytes_per_second": None})
    assert devices.collective(machines.make(alone)).status == "ok"


def test_collective_that_is_wrong_hangs_or_fails_is_a_failure(machines):
    wrong = devices.collective(machines.make(probed(collective={**SUM, "correct": False})))
    assert wrong.status == "failure"
    assert "is wrong" in wrong.message
    hung = devices.collective(machines.make(stopped("collective", "not done", timed_out=True, devices=TPU)))
    assert hung.status == "failure"
    failed = devices.collective(machines.make(stopped("collective", "INTERNAL", devices=TPU)))
    assert "INTERNAL" in failed.message
    assert devices.collective(machines.make(stopped("devices"))).status == "not applicable"


def test_memory_warns_where_there_is_little(machines):
    assert devices.memory(machines.make()).status == "not applicable"
    meminfo = machines.folder / "proc" / "meminfo"
    meminfo.write_text("MemTotal:       99 kB\nMemAvailable:   8388608 kB\n")
    found = devices.memory(machines.make())
    assert found.status == "ok"
    assert found.message == "8.0 GiB free, 16.0 GiB on a device"
    meminfo.write_text("MemAvailable:   1048576 kB\n")
    assert devices.memory(machines.make()).status == "warning"
