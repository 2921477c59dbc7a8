"""The doctor's command: a line per check, exit statuses, and the independence of the checks."""

import json
import re

import pytest

from tests.tpu.machines import CPU, Machines, probed
from tpu import doctor
from tpu.machine import Finding

ALL = set(doctor.CHECKS)
OK = Finding("ok", "")
NEED_JAX = {"workers", "devices", "backend", "collective", "memory"}


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Makes the command check a fake machine."""
    machines = Machines(tmp_path)

    def put(**parts):
        def make(options):
            machine = machines.make(**parts)
            machine.options = options
            return machine

        monkeypatch.setattr(doctor, "Machine", make)
        return machines

    return put


def test_doctor_prints_a_line_for_each_check(use, capsys):
    use()
    assert doctor.main(["--expect_platform", "tpu", "--expect_devices", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[14:].split()[0] for line in lines] == list(doctor.CHECKS)
    assert "ok              devices        8 x TPU v5 lite (tpu)" in lines


def test_doctor_ends_with_1_and_a_cure_if_a_check_failed(use, capsys):
    use(probe=probed(CPU)).device("accel0")
    assert doctor.main([]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " backend " in line]
    assert line.startswith("failure ")
    assert "fell back to the CPU. Cure: pip install" in line


def test_doctor_ends_with_0_after_warnings(use, capsys):
    use(environ={"TPU_LIBRARY_PATH": "/old.so"})
    assert doctor.main(["--expect_platform=tpu"]) == 0
    assert "warning         libtpu" in capsys.readouterr().out


def test_doctor_prints_json(use, capsys):
    use(probe=probed(CPU))
    assert doctor.main(["--json", "--expect_platform", "tpu"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is False
    assert [check["name"] for check in printed["checks"]] == list(doctor.CHECKS)
    failed = [check for check in printed["checks"] if check["status"] == "failure"]
    assert [check["name"] for check in failed] == ["devices"]
    assert all(check["cure"] for check in failed)


def test_doctor_starts_jax_only_for_checks_that_need_it(use, capsys):
    machines = use()
    machine = machines.make()
    machine.start_jax = lambda request, environ: pytest.fail("JAX was started")
    findings = doctor.examine(machine, skip=NEED_JAX)
    assert set(findings) == ALL - NEED_JAX
    assert all(finding.status != "failure" for finding in findings.values()), findings


def test_doctor_reports_an_exception_in_a_check(use, monkeypatch):
    def broken(machine):
        raise ModuleNotFoundError("No module named 'packaging'")

    monkeypatch.setitem(doctor.CHECKS, "packages", broken)
    found = doctor.examine(use().make())
    assert set(found) == ALL
    assert found["packages"].status == "failure"
    assert "No module named 'packaging'" in found["packages"].message
    assert found["devices"].status == "ok"


@pytest.mark.parametrize(
    "words",
    [
        ["--no_such_option"],
        ["--skip", "no_such_check"],
        ["--expect_devices", "none"],
        ["--expect_devices", "0"],
        ["--coordinator", "host"],
        ["--coordinator", "host:99999"],
        ["--expect_platform", "abacus"],
    ],
)
def test_doctor_ends_with_2_for_wrong_options(words, capsys):
    with pytest.raises(SystemExit) as stop:
        doctor.main(words)
    assert stop.value.code == 2
    assert re.search("expected|unrecognized|invalid choice", capsys.readouterr().err)


@pytest.mark.parametrize(("text", "address"), [("[::1]:8476", ("::1", 8476)), ("host:1", ("host", 1))])
def test_doctor_reads_addresses(use, monkeypatch, text, address):
    seen = []
    use()
    monkeypatch.setitem(doctor.CHECKS, "coordinator", lambda machine: seen.append(machine.options.coordinator) or OK)
    assert doctor.main(["--coordinator", text, *[f"--skip={name}" for name in ALL - {"coordinator"}]]) == 0
    assert seen == [address]


def test_doctor_checks_this_machine(monkeypatch, capsys):
    """The real machine, as in CI: a CPU and the packages of the tests."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    assert doctor.main(["--expect_platform", "cpu", "--expect_devices", "2", "--skip", "backend"]) == 0
    assert "all-reduce over 2 devices: " in capsys.readouterr().out
