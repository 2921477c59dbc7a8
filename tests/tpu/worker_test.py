"""tpu/worker.sh: one job at a time, its exit status, and the virtual environment."""

import os
import shutil
import subprocess
import time

import pytest

from tests.conftest import REPOSITORY


class Worker:
    """A home directory with a checkout, and a PATH with replaceable tools."""

    def __init__(self, folder):
        self.home, self.tools = folder / "home", folder / "tools"
        self.root = self.home / "flax_lite"
        self.tools.mkdir()
        shutil.copytree(REPOSITORY / "tpu", self.root / "tpu", ignore=shutil.ignore_patterns("*.py", "__pycache__"))

    def tool(self, name, script, folder=None):
        path = (folder or self.tools) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def run(self, *words, path=None):
        path = path or f"{self.tools}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "tpu/worker.sh", *words],
            cwd=self.root,
            env={**os.environ, "HOME": str(self.home), "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def state(self):
        return self.run("status").stdout.split()[2:]

    def wait(self, *expected):
        deadline = time.monotonic() + 30
        while self.state()[: len(expected)] != list(expected):
            assert time.monotonic() < deadline, self.state()
            time.sleep(0.05)


@pytest.fixture
def worker(tmp_path):
    worker = Worker(tmp_path)
    yield worker
    worker.run("stop", "--seconds", "0")


def test_worker_records_the_exit_status_and_the_output(worker):
    assert worker.state() == ["none"]
    assert worker.run("start", "--env", "WORD=a b", "--", "bash", "-c", 'echo "$WORD"; exit 7').returncode == 0
    worker.wait("exited", "7")
    assert abs(float(worker.state()[2]) - time.time()) < 600
    lines = worker.run("log").stdout.splitlines()
    assert [line.partition(": ")[2] for line in lines[1:2]] == ["a b"]
    assert "ended with status 7" in lines[2]
    assert len(worker.run("log", "--lines", "1").stdout.splitlines()) == 1


def test_worker_runs_one_job_at_a_time(worker):
    assert worker.run("start", "--", "sleep", "600").returncode == 0
    second = worker.run("start", "--", "true")
    assert second.returncode == 2
    assert "a job is running here (sleep 600)" in second.stderr
    assert worker.state()[0] == "running"


def test_worker_stops_a_job_that_has_just_started(worker):
    assert worker.run("start", "--", "sleep", "600").returncode == 0
    assert worker.run("stop").returncode == 0
    assert worker.state()[:2] == ["exited", "143"]


def test_worker_stop_lets_the_job_save(worker):
    """It sends SIGTERM first, and the job chooses its exit status."""
    job = 'trap "exit 75" TERM; touch ready; while :; do sleep 0.1; done'
    assert worker.run("start", "--", "bash", "-c", job).returncode == 0
    wait_for(worker.root / "ready")
    assert worker.run("stop").returncode == 0
    assert worker.state()[:2] == ["exited", "75"]
    assert worker.run("stop").returncode == 0


def test_worker_stop_kills_a_job_that_ignores_sigterm(worker):
    job = 'trap "" TERM; touch ready; while :; do sleep 0.1; done'
    assert worker.run("start", "--", "bash", "-c", job).returncode == 0
    wait_for(worker.root / "ready")
    assert worker.run("stop", "--seconds", "1").returncode == 0
    worker.wait("lost")


def test_worker_reports_processes_that_outlive_the_job(worker):
    """A leftover data worker may still hold the TPU."""
    assert worker.run("start", "--", "bash", "-c", "sleep 600 & exit 1").returncode == 0
    worker.wait("ending", "1")
    assert worker.run("start", "--", "true").returncode == 2
    assert worker.run("stop").returncode == 0
    assert worker.state()[:2] == ["exited", "1"]


def test_worker_reads_the_newest_step(worker, tmp_path):
    assert worker.run("step", "--workdir", str(tmp_path)).stdout == ""
    (tmp_path / "summary.json").write_text('{\n  "status": "running",\n  "step": 250,\n  "runs": [{"step": 1}]\n}\n')
    assert worker.run("step", "--workdir", str(tmp_path)).stdout == "flax_lite-step 250\n"
    assert worker.run("step").returncode == 2


def test_worker_doctor_has_the_jobs_environment(worker):
    """Otherwise it would look for the other workers on a closed port."""
    program = 'echo "$*" "$JAX_COORDINATOR_PORT" "$JAX_PLATFORMS"'
    worker.tool("python", program, worker.root / ".venv" / "bin")
    shown = worker.run("doctor", "--workdir", "gs://bucket/run").stdout
    assert shown == "-m tpu.doctor --expect_platform tpu --workdir gs://bucket/run 8476 tpu,cpu\n"


PYTHON = """
case "$*" in
  -c*) echo {version} ;;
  *--version) ;;
  *) echo "python $*" >>{log} ;;
esac"""


def fake_environment(worker, version="3.12"):
    """Returns a shell command that creates .venv with a fake Python of this version."""
    worker.tool("python", PYTHON.format(version=version, log=worker.home / "log"), worker.home / "made" / "bin")
    return f"cp -r {worker.home}/made .venv"


@pytest.mark.parametrize("version", ["3.12", "3.11"])
def test_worker_setup_uses_uv_and_the_constraints_of_the_python(worker, version):
    worker.tool("uv", f"echo uv $* >>{worker.home}/log; {fake_environment(worker, version)}")
    done = worker.run("setup", "--python", version)
    assert done.returncode == 0, done.stderr
    install = f"python -m pip install --quiet --constraint constraints/py{version.replace('.', '')}.txt --editable "
    expected = [f"uv venv --quiet --seed --python {version} .venv", f"{install}.[tpu]"]
    assert (worker.home / "log").read_text().splitlines() == expected
    assert worker.run("setup", "--python", version, "--workdir", "gs://bucket/run").returncode == 0
    assert (worker.home / "log").read_text().splitlines() == [*expected, f"{install}.[tpu,gcs]"]


def bare(worker):
    """Returns a PATH with the tools that the scripts need and only fake Pythons."""
    for name in ("bash", "basename", "dirname", "cat", "cp", "rm", "sed", "hostname", "env"):
        (worker.tools / name).symlink_to(shutil.which(name))
    return str(worker.tools)


def test_worker_setup_without_uv_uses_the_machines_python(worker):
    make = fake_environment(worker)
    worker.tool("python3.12", f"[[ $1 == -c ]] || {{ echo python3.12 $* >>{worker.home}/log; {make}; }}")
    done = worker.run("setup", path=bare(worker))
    assert done.returncode == 0, done.stderr
    assert (worker.home / "log").read_text().splitlines()[0] == "python3.12 -m venv .venv"


@pytest.mark.parametrize("has_python", [False, True])
def test_worker_setup_installs_uv_if_necessary(worker, has_python):
    """Without the Python version, or if it lacks ensurepip, as Debian's does."""
    make = fake_environment(worker)
    if has_python:
        worker.tool("python3.12", "exit 1")
    worker.tool("python3", f'echo "python3 $*" >>{worker.home}/log; [[ $2 == pip ]] || {make}')
    done = worker.run("setup", path=bare(worker))
    assert done.returncode == 0, done.stderr
    assert (worker.home / "log").read_text().splitlines()[:2] == [
        "python3 -m pip install --quiet --user uv>=0.13.9,<0.14",
        "python3 -m uv venv --quiet --seed --python 3.12 .venv",
    ]


def test_worker_setup_replaces_an_incomplete_environment(worker):
    """An environment without pip would fail at every further attempt."""
    worker.tool("python", "exit 1", worker.root / ".venv" / "bin")
    worker.tool("uv", fake_environment(worker))
    done = worker.run("setup")
    assert done.returncode == 0, done.stderr
    assert "pip install" in (worker.home / "log").read_text()


def test_worker_dry_run_changes_nothing(worker):
    worker.tool("uv", "exit 1")
    shown = [
        worker.run(action, "--dry_run", *more).stdout.splitlines()
        for action, more in (("setup", ()), ("start", ("--env", "A=b c", "--", "true")), ("stop", ()))
    ]
    assert shown == [
        [
            "rm -rf .venv",
            "uv venv --quiet --seed --python 3.12 .venv",
            ".venv/bin/python -m pip install --quiet --constraint constraints/py312.txt --editable '.[tpu]'",
        ],
        ["env 'A=b c' setsid true"],
        [],
    ]
    assert worker.state() == ["none"]


def test_worker_setup_refuses_an_environment_of_another_python(worker):
    worker.tool("uv", fake_environment(worker, "3.11"))
    done = worker.run("setup")
    assert done.returncode == 2
    assert "has Python 3.11, not 3.12" in done.stderr


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
