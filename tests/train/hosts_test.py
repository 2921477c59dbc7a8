"""Several hosts as several processes on this machine, with the toy job: each has two devices of its own."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests.train import toy
from tests.train.loop.runs import DAMAGES, outcome, summary, wait_for_row
from train.errors import RunError, UserError
from train.hosts import join, lost_another
from train.process_count import processes_of_environment

_ENDS_OF_THE_KILLED = {0, 75, -signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL, -signal.SIGABRT}
# Gloo writes "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer ranks is : 1" piece by
# piece and from two threads, so that a line may hold pieces of two.
_GLOO = re.compile(r"\[Gloo\] Rank|is connected to|(Expected number of connected )?peer ranks( is :|\.)|\b\d+\b")
# What becomes of Ctrl-C within the import of jaxlib. The toy imports JAX before it listens for signals; jobs do not.
_INTERRUPTED_IMPORT = "ImportError: Encountered an error while initializing the extension"
_HEARTBEAT = "hosts.heartbeat_seconds=5"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Fleet:
    """One run of a job by several processes.

    Args:
      config: the toy's config file.
      workdir: one for all, or one for each.
      count: number of processes.
      overrides: of the config.
      lacking: processes that are not started.
    """

    def __init__(self, config, workdir, count, *overrides, lacking=()):
        workdirs = workdir if isinstance(workdir, list) else [workdir] * count
        coordinator = f"127.0.0.1:{free_port()}"
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        self.processes = {}
        for index in set(range(count)) - set(lacking):
            command = [sys.executable, "-m", "tests.train.toy", "--config", str(config), "--workdir", workdirs[index]]
            command += ["--coordinator", coordinator, f"--num_processes={count}", f"--process_id={index}"]
            command += [f"--config.{item}" for item in ("mesh.data=-1", _HEARTBEAT, *overrides)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            self.processes[index] = subprocess.Popen(command, env=environment, **pipes)

    def end(self):
        """Waits for all; returns their statuses. `output` and `errors` hold what they have printed."""
        try:
            texts = {index: process.communicate(timeout=120) for index, process in self.processes.items()}
        finally:
            for process in self.processes.values():
                process.kill()
        self.output = {index: text[0] for index, text in texts.items()}
        self.errors = {index: text[1] for index, text in texts.items()}
        return [process.returncode for process in self.processes.values()]


@pytest.fixture
def config(tmp_path):
    return toy.write_config(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcome of a run of two hosts that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    fleet = Fleet(toy.write_config(folder), folder / "work", 2)
    assert fleet.end() == [0, 0], fleet.errors
    assert "step 20/20  held-out: loss" in fleet.output[0]
    own = [line for line in fleet.output[1].splitlines() if _GLOO.sub("", line).strip()]
    assert len(own) == 1, "host 0 speaks for all once they have joined"
    assert summary(folder / "work")["runs"][0]["process_count"] == 2
    assert summary(folder / "work")["runs"][0]["mesh"] == {"data": 4, "fsdp": 1}
    return outcome(folder / "work")


def losses(result):
    return [row[:3] for row in result[0]]


def assert_alike(result, other):
    """Within DESIGN's bar for another layout."""
    assert [row[:2] for row in losses(result)] == [row[:2] for row in losses(other)]
    np.testing.assert_allclose([row[2] for row in losses(result)], [row[2] for row in losses(other)], rtol=1e-4)


def test_two_hosts_do_what_one_does(tmp_path, config, whole):
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.train.toy", "--config", str(config), "--workdir", str(tmp_path / "one")]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert_alike(outcome(tmp_path / "one"), whole)


@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_one_host_saves_on_all(tmp_path, config, whole, told):
    """They leave the steps at the same one; the restart is bit-equal."""
    work = tmp_path / "work"
    fleet = Fleet(config, work, 2, "data.delay_seconds=0.2")
    wait_for_row(work, 1)
    fleet.processes[told].send_signal(signal.SIGTERM)
    assert fleet.end() == [75, 75], fleet.errors
    assert "stopped by SIGTERM: step" in fleet.errors[told]
    assert f"toy, host {1 - told} of 2: stopped by a signal to another host: step" in fleet.errors[1 - told]
    assert summary(work)["status"] == "interrupted"
    assert Fleet(config, work, 2).end() == [0, 0]
    assert outcome(work) == whole
    assert summary(work)["totals"]["lost_steps"] == 0


def test_four_hosts_go_on_as_two_and_as_one(tmp_path, config, whole):
    work = tmp_path / "work"
    for count in (4, 2):
        done = summary(work)["step"] if (work / "summary.json").exists() else 0
        fleet = Fleet(config, work, count, "data.delay_seconds=0.2")
        wait_for_row(work, done + 3)
        fleet.processes[count - 1].send_signal(signal.SIGTERM)
        assert fleet.end() == [75] * count, fleet.errors
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.train.toy", "--config", str(config), "--workdir", str(work)]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert_alike(outcome(work), whole)
    assert [run["process_count"] for run in summary(work)["runs"]] == [4, 2, 1]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_host_that_is_lost_ends_the_others(tmp_path, config, whole, lost):
    """Within the heartbeat's time, by a signal of their own; and no more is lost than the steps since the last save."""
    work = tmp_path / "work"
    fleet = Fleet(config, work, 2, "data.delay_seconds=0.2")
    wait_for_row(work, 6)
    fleet.processes[lost].kill()
    statuses = fleet.end()
    assert statuses[lost] == -signal.SIGKILL
    # Whatever notices first: JAX's heartbeat, or a collective whose connection is closed.
    assert statuses[1 - lost] in (-signal.SIGABRT, 75), fleet.errors
    assert Fleet(config, work, 2).end() == [0, 0]
    assert outcome(work) == whole
    assert summary(work)["runs"][1]["from_step"] >= 4


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_killed_at_random_the_run_ends_as_if_it_had_not_been(tmp_path, config, whole, kills):
    """Signal, process and moment at random, in the start, in saves and evaluations; nothing needs a hand."""
    work, seed = tmp_path / "work", random.randrange(2**32)
    print(f"seed {seed}")
    draw, killed = random.Random(seed), 0
    while killed < kills:
        # Slow steps, or the first run would outlive all of its kills.
        fleet = Fleet(config, work, 2, "data.delay_seconds=1", "checkpoint_every_steps=2")
        time.sleep(draw.uniform(0, 8))
        fleet.processes[draw.randrange(2)].send_signal(draw.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGINT]))
        statuses = fleet.end()
        for index, status in enumerate(statuses):
            in_import = status == 1 and _INTERRUPTED_IMPORT in fleet.errors[index]
            assert status in _ENDS_OF_THE_KILLED or in_import, fleet.errors
        if statuses == [0, 0]:  # it was too late
            assert outcome(work) == whole
            work = tmp_path / f"work-{killed}"
        else:
            killed += 1
    fleet = Fleet(config, work, 2)
    assert fleet.end() == [0, 0], fleet.errors
    assert outcome(work) == whole


@pytest.mark.parametrize("damage", ["unreadable", "no commit marker"])
def test_hosts_agree_on_the_checkpoint_they_take(tmp_path, config, whole, damage):
    work = tmp_path / "work"
    fleet = Fleet(config, work, 2, "data.delay_seconds=0.2")
    wait_for_row(work, 9)
    fleet.processes[1].send_signal(signal.SIGTERM)
    assert fleet.end() == [75, 75], fleet.errors
    newest = max((work / "checkpoints").iterdir(), key=lambda path: int(path.name))
    DAMAGES[damage](newest)
    fleet = Fleet(config, work, 2)
    assert fleet.end() == [0, 0], fleet.errors
    assert f"checkpoint {newest.name} is bad: {damage}" in fleet.output[0]
    assert "continuing from the checkpoint of step 8" in fleet.output[0]
    assert outcome(work) == whole


def test_a_work_directory_that_is_not_common_is_refused(tmp_path, config):
    fleet = Fleet(config, [tmp_path / "here", tmp_path / "there"], 2)
    assert fleet.end() == [2, 2]
    assert "toy, host 1 of 2: --workdir" in fleet.errors[1]
    assert "a disk that all of them mount" in fleet.errors[1]
    assert "toy, host 0 of 2: host 1: --workdir" in fleet.errors[0]


def test_a_mistake_that_host_0_finds_ends_all(tmp_path, config):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").touch()
    fleet = Fleet(config, tmp_path / "work", 2)
    assert fleet.end() == [2, 2]
    assert "toy, host 1 of 2: host 0: --workdir" in fleet.errors[1]


def test_a_loss_that_is_not_finite_ends_all(tmp_path, config):
    fleet = Fleet(config, tmp_path / "work", 2, "data.bad_step=6")
    assert fleet.end() == [1, 1]
    assert all("step 6: loss is inf" in error for error in fleet.errors.values())
    assert summary(tmp_path / "work")["status"] == "failed"


def test_hosts_that_do_not_come_are_not_waited_for_for_ever(tmp_path, config):
    for missing, present in ((0, 1), (1, 0)):
        fleet = Fleet(config, tmp_path / "work", 2, "hosts.initialization_seconds=3", lacking=[missing])
        (status,) = fleet.end()
        assert "joining the other hosts at 127.0.0.1:" in fleet.output[present]
        assert status == (75 if missing == 0 else -signal.SIGABRT)
        assert missing == 1 or "could not join the other hosts" in fleet.errors[present]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("127.0.0.1:1", None, 0), "all of --coordinator"),
        ((None, 2, None), "all of --coordinator"),
        (("127.0.0.1:1", 2, 2), "expected 0 to 1"),
        (("127.0.0.1", 2, 0), "expected HOST:PORT"),
    ],
)
def test_flags_that_do_not_fit_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        join(*given, heartbeat_seconds=1, initialization_seconds=1)


_SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "a[1-2]", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({}, 1),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c,d"}, 4),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, 1),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "MEGASCALE_NUM_SLICES": "2"}, 4),
        ({**_SLURM, "SLURM_NTASKS": "8"}, 8),
        ({"SLURM_NTASKS": "8"}, 1),  # in the allocation's shell, outside srun
    ],
)
def test_the_environment_says_how_many_processes_there_are(tmp_path, environ, count):
    assert processes_of_environment(environ, root=tmp_path) == count


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (jax.errors.JaxRuntimeError("INTERNAL: Gloo AllGather failed: [..] Connection closed by peer"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), False),
        (RuntimeError("Gloo"), False),
    ],
)
def test_a_collective_that_lost_a_host_is_told_from_a_defect(error, expected):
    """Also where a save failed because of it."""
    assert lost_another(error) is expected
    consequence = RunError("the checkpoint could not be written")
    consequence.__cause__ = error
    assert lost_another(consequence) is expected
