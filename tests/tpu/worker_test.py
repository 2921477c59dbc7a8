"""What runs on a worker: one job at a time, its exit status kept, its environment made once."""

import os
import shutil
import subprocess
import time

import pytest

from tests.conftest import REPOSITORY


class Worker:
    """A home with a checkout, whose tools can be replaced."""

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


def test_worker_keeps_the_exit_status_and_the_output(worker):
    assert worker.state() == ["none"]
    assert worker.run("start", "--env", "WORD=a b", "--", "bash", "-c", 'echo "$WORD"; exit 7').returncode == 0
    worker.wait("exited", "7")
    assert worker.state()[2].replace(".", "").isdigit()
    lines = worker.run("log").stdout.splitlines()
    assert [line.partition(": ")[2] for line in lines[1:2]] == ["a b"]
    assert "ended with status 7" in lines[2]
    assert len(worker.run("log", "--lines", "1").stdout.splitlines()) == 1


def test_worker_runs_one_job_at_a_time(worker):
    assert worker.run("start", "--", "sleep", "600").returncode == 0
    second = worker.run("start", "--", "true")
    assert second.returncode == 2
    assert "a job is running here (sleep 600)" in second.stderr
    assert worker.state() == ["running"]


def test_worker_stops_a_job_that_has_just_begun(worker):
    assert worker.run("start", "--", "sleep", "600").returncode == 0
    assert worker.run("stop").returncode == 0
    assert worker.state()[:2] == ["exited", "143"]


def test_worker_stop_lets_the_job_save(worker):
    """SIGTERM first, and the status that the job then ends with is its own."""
    job = 'trap "exit 75" TERM; touch ready; while :; do sleep 0.1; done'
    assert worker.run("start", "--", "bash", "-c", job).returncode == 0
    wait_for(worker.root / "ready")
    assert worker.run("stop").returncode == 0
    assert worker.state()[:2] == ["exited", "75"]
    assert worker.run("stop").returncode == 0


def test_worker_stop_kills_what_does_not_listen(worker):
    job = 'trap "" TERM; touch ready; while :; do sleep 0.1; done'
    assert worker.run("start", "--", "bash", "-c", job).returncode == 0
    wait_for(worker.root / "ready")
    assert worker.run("stop", "--seconds", "1").returncode == 0
    worker.wait("lost")


def test_worker_tells_of_processes_that_outlive_the_job(worker):
    """A data worker that was left behind may still hold the TPU."""
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
    """Or it would look for the other workers on a port that is closed."""
    program = 'echo "$*" "$JAX_COORDINATOR_PORT" "$JAX_PLATFORMS"'
    worker.tool("python", program, worker.root / ".venv" / "bin")
    assert worker.run("doctor").stdout == "-m tpu.doctor --expect_platform tpu 8476 tpu,cpu\n"


PYTHON = """
case $1 in
  -c) echo {version} ;;
  *) echo "python $*" >>{log} ;;
esac"""


def fake_environment(worker, version="3.12"):
    """A script that makes .venv with a Python of this version."""
    worker.tool("python", PYTHON.format(version=version, log=worker.home / "log"), worker.home / "made" / "bin")
    return f"cp -r {worker.home}/made .venv"


@pytest.mark.parametrize("version", ["3.12", "3.11"])
def test_worker_setup_installs_the_pins_of_its_python_with_uv(worker, version):
    worker.tool("uv", f"echo uv $* >>{worker.home}/log; {fake_environment(worker, version)}")
    done = worker.run("setup", "--python", version)
    assert done.returncode == 0, done.stderr
    install = (
        f"python -m pip install --quiet --constraint constraints/py{version.replace('.', '')}.txt --editable .[tpu]"
    )
    expected = [f"uv venv --quiet --seed --python {version} .venv", install]
    assert (worker.home / "log").read_text().splitlines() == expected
    assert worker.run("setup", "--python", version).returncode == 0
    assert (worker.home / "log").read_text().splitlines() == [*expected, install]


def bare(worker):
    """A PATH with what the scripts need and no Python but the fake ones."""
    for name in ("bash", "basename", "dirname", "cat", "cp", "sed", "hostname", "env"):
        (worker.tools / name).symlink_to(shutil.which(name))
    return str(worker.tools)


def test_worker_setup_takes_the_machines_python_where_there_is_no_uv(worker):
    worker.tool("python3.12", f"echo python3.12 $* >>{worker.home}/log; {fake_environment(worker)}")
    done = worker.run("setup", path=bare(worker))
    assert done.returncode == 0, done.stderr
    assert (worker.home / "log").read_text().splitlines()[0] == "python3.12 -m venv .venv"


def test_worker_setup_fetches_uv_where_there_is_neither(worker):
    make = fake_environment(worker)
    worker.tool("python3", f'echo "python3 $*" >>{worker.home}/log; [[ $2 == pip ]] || {make}')
    done = worker.run("setup", path=bare(worker))
    assert done.returncode == 0, done.stderr
    assert (worker.home / "log").read_text().splitlines()[:2] == [
        "python3 -m pip install --quiet --user uv>=0.13.9,<0.14",
        "python3 -m uv venv --quiet --seed --python 3.12 .venv",
    ]


def test_worker_setup_refuses_an_environment_of_another_python(worker):
    worker.tool("uv", fake_environment(worker, "3.11"))
    done = worker.run("setup")
    assert done.returncode == 2
    assert "is of Python 3.11, not 3.12" in done.stderr


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
