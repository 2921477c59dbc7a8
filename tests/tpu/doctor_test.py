"""The command: a line for each check, exit statuses, and no check that takes the others with it."""

import json
import re

import pytest

from tests.tpu.machines import CPU, Machines, probed
from tpu import doctor
from tpu.machine import Finding

EVERY = set(doctor.CHECKS)
OK = Finding("ok", "")
NEED_JAX = {"workers", "devices", "backend", "collective", "memory"}


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Lets the command examine a machine of the test's."""
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


def test_doctor_ends_with_1_and_the_cure_where_something_failed(use, capsys):
    use(probe=probed(CPU)).device("accel0")
    assert doctor.main([]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " backend " in line]
    assert line.startswith("failure ")
    assert "fell back to the CPU. Cure: pip install" in line


def test_doctor_lets_warnings_pass(use, capsys):
    use(environ={"TPU_LIBRARY_PATH": "/old.so"})
    assert doctor.main(["--expect_platform=tpu"]) == 0
    assert "warning         libtpu" in capsys.readouterr().out


def test_doctor_prints_json(use, capsys):
    use(probe=probed(CPU))
    assert doctor.main(["--json", "--expect_platform", "tpu"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert [check["name"] for check in told["checks"]] == list(doctor.CHECKS)
    failed = [check for check in told["checks"] if check["status"] == "failure"]
    assert [check["name"] for check in failed] == ["devices"]
    assert all(check["cure"] for check in failed)


def test_doctor_skips_and_does_not_start_jax_for_nothing(use, capsys):
    machines = use()
    machine = machines.make()
    machine.start_jax = lambda request, environ: pytest.fail("JAX was started")
    left = doctor.examine(machine, skip=NEED_JAX)
    assert set(left) == EVERY - NEED_JAX
    assert all(finding.status != "failure" for finding in left.values()), left


def test_doctor_survives_a_check_that_fails_itself(use, monkeypatch):
    def broken(machine):
        raise ModuleNotFoundError("No module named 'packaging'")

    monkeypatch.setitem(doctor.CHECKS, "packages", broken)
    found = doctor.examine(use().make())
    assert set(found) == EVERY
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
def test_doctor_ends_with_2_at_wrong_options(words, capsys):
    with pytest.raises(SystemExit) as stop:
        doctor.main(words)
    assert stop.value.code == 2
    assert re.search("expected|unrecognized|invalid choice", capsys.readouterr().err)


@pytest.mark.parametrize(("text", "address"), [("[::1]:8476", ("::1", 8476)), ("host:1", ("host", 1))])
def test_doctor_reads_addresses(use, monkeypatch, text, address):
    seen = []
    use()
    monkeypatch.setitem(doctor.CHECKS, "coordinator", lambda machine: seen.append(machine.options.coordinator) or OK)
    assert doctor.main(["--coordinator", text, *[f"--skip={name}" for name in EVERY - {"coordinator"}]]) == 0
    assert seen == [address]


def test_doctor_examines_this_machine(monkeypatch, capsys):
    """The real one, as CI has it: a CPU and what the tests installed."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    assert doctor.main(["--expect_platform", "cpu", "--expect_devices", "2", "--skip", "backend"]) == 0
    assert "2 devices add up at" in capsys.readouterr().out
