"""Multi-host runs of the toy job: several processes on this machine, with two devices each."""

import json
import random
import re
import signal
import socket
import time

import jax
import numpy as np
import pytest

from tests.train import toy
from tests.train.commands import xla_flags
from tests.train.forked import Process
from tests.train.run.runs import DAMAGES, outcome, run, summary, wait_for_row
from train.errors import RunError, UserError
from train.machine.hosts import join, lost_another
from train.machine.process_count import processes_of_environment
from train.run.checkpoints import COMMIT_MARKER

_STATUSES_AFTER_A_KILL = {0, 75, -signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL, -signal.SIGABRT}
# Gloo writes "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer ranks is : 1" in pieces and
# from two threads, so a line may mix two messages.
_GLOO = re.compile(r"\[Gloo\] Rank|is connected to|(Expected number of connected )?peer ranks( is :|\.)|\b\d+\b")
_FAILED_BARRIER = "Barrier failed because: task is set to ERROR: UNAVAILABLE: Task 1 heartbeat timeout."
_HEARTBEAT = "hosts.heartbeat_seconds=5"
_STEPS = "total_steps=28"  # enough for all interruptions of one run
_SLOWLY = "data.delay_seconds=0.2"
_ONE_SAVE = "checkpoint_every_steps=28"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Fleet:
    """One run of a job by several processes.

    Args:
      config: the toy's config file.
      workdir: one path for all processes, or a list with one path each.
      count: the number of processes.
      overrides: overrides of the config.
      lacking: indices of processes that are not started.
      environment: changes to this process's environment variables.
    """

    def __init__(self, config, workdir, count, *overrides, lacking=(), environment=None):
        workdirs = workdir if isinstance(workdir, list) else [workdir] * count
        words = ["--config", config, "--coordinator", f"127.0.0.1:{free_port()}", f"--num_processes={count}"]
        words += [f"--config.{item}" for item in ("mesh.data=-1", _HEARTBEAT, *overrides)]
        changes = {"XLA_FLAGS": xla_flags(2), "JAX_COMPILATION_CACHE_DIR": None}
        self.processes = {
            index: Process(
                *words, f"--process_id={index}", "--workdir", workdirs[index], environment=changes | (environment or {})
            )
            for index in set(range(count)) - set(lacking)
        }

    def end(self):
        """Waits for all processes and returns their exit statuses; sets `output` and `errors` to what they printed."""
        try:
            statuses = [process.wait() for process in self.processes.values()]
        finally:
            for process in self.processes.values():
                process.kill()
        self.output = {index: process.output for index, process in self.processes.items()}
        self.errors = {index: process.errors for index, process in self.processes.items()}
        return statuses


@pytest.fixture
def config(tmp_path):
    return toy.write_config(tmp_path)


@pytest.fixture(scope="module")
def programs(once):
    """A separate compilation cache for these processes, because a killed process may damage it."""
    return {"JAX_COMPILATION_CACHE_DIR": str(once("hosts-programs", lambda folder: None))}


@pytest.fixture(scope="module")
def uninterrupted(once, programs):
    """The outcome of an uninterrupted run on two hosts."""

    def make(folder):
        fleet = Fleet(toy.write_config(folder), folder / "work", 2, _STEPS, _ONE_SAVE, environment=programs)
        assert fleet.end() == [0, 0], fleet.errors
        assert "step 28/28  held-out: loss" in fleet.output[0]
        printed = [line for line in fleet.output[1].splitlines() if _GLOO.sub("", line).strip()]
        assert len(printed) == 1, "only host 0 prints once they have joined"
        assert summary(folder / "work")["runs"][0]["process_count"] == 2
        assert summary(folder / "work")["runs"][0]["mesh"] == {"data": 4, "fsdp": 1}

    return outcome(once("hosts-uninterrupted", make) / "work")


@pytest.fixture(scope="module")
def disturbed(once, programs):
    """One run on two hosts in five pieces, with observations at the end of each piece, and its work directory.

    The pieces end with: a signal to host 1; a signal to host 0, after which the newest checkpoint is made unreadable;
    SIGKILL to host 1; SIGKILL to host 0, after which the newest checkpoint loses its commit marker; completion.
    """

    def make(folder):
        config, work, pieces = toy.write_config(folder), folder / "work", []

        def piece(*overrides, until=0, disturb=lambda processes: None):
            fleet = Fleet(config, work, 2, _STEPS, *overrides, environment=programs)
            if until:
                wait_for_row(work, until, fleet.processes[0])
                disturb(fleet.processes)
            seen = {"statuses": fleet.end(), "output": [*fleet.output.values()], "errors": [*fleet.errors.values()]}
            complete = [int(path.parent.name) for path in (work / "checkpoints").glob(f"*/{COMMIT_MARKER}")]
            pieces.append({**seen, "summary": summary(work), "checkpoints": sorted(complete)})
            return max(complete)

        step = piece(_SLOWLY, until=1, disturb=lambda processes: processes[1].send_signal(signal.SIGTERM))
        step = piece(_SLOWLY, until=step + 2, disturb=lambda processes: processes[0].send_signal(signal.SIGTERM))
        DAMAGES["unreadable"](work / "checkpoints" / str(step))
        # Two steps after a save.
        step = piece(_SLOWLY, until=step // 4 * 4 + 6, disturb=lambda processes: processes[1].kill())
        step = piece(_SLOWLY, until=step // 4 * 4 + 6, disturb=lambda processes: processes[0].kill())
        DAMAGES["no commit marker"](work / "checkpoints" / str(step))
        piece()
        (folder / "pieces.json").write_text(json.dumps(pieces))

    folder = once("hosts-disturbed", make)
    return json.loads((folder / "pieces.json").read_text()), folder / "work"


def losses(result):
    return [row[:3] for row in result[0]]


def assert_alike(result, other):
    """Losses of runs in different layouts agree within 1e-4: sums are taken in another order."""
    assert [row[:2] for row in losses(result)] == [row[:2] for row in losses(other)]
    np.testing.assert_allclose([row[2] for row in losses(result)], [row[2] for row in losses(other)], rtol=1e-4)


@pytest.mark.compat
def test_two_hosts_match_one(tmp_path, config, uninterrupted):
    assert run(config, tmp_path / "one", _STEPS, _ONE_SAVE) == 0
    assert_alike(outcome(tmp_path / "one"), uninterrupted)


def test_an_interrupted_run_equals_an_uninterrupted_one(disturbed, uninterrupted):
    pieces, work = disturbed
    assert pieces[-1]["statuses"] == [0, 0], pieces[-1]["errors"]
    assert len(summary(work)["runs"]) == 5
    assert outcome(work) == uninterrupted


@pytest.mark.parametrize(("piece", "signaled"), [(0, 1), (1, 0)])
def test_a_signal_to_one_host_saves_on_all(disturbed, piece, signaled):
    """All hosts stop at the same step, and no step is lost."""
    seen = disturbed[0][piece]
    assert seen["statuses"] == [75, 75], seen["errors"]
    assert "stopped by SIGTERM: step" in seen["errors"][signaled]
    assert f"toy, host {1 - signaled} of 2: stopped by a signal to another host: step" in seen["errors"][1 - signaled]
    assert seen["summary"]["status"] == "interrupted"
    assert seen["summary"]["step"] == seen["checkpoints"][-1]
    after = disturbed[0][1]["summary"]
    assert after["totals"]["lost_steps"] == 0
    assert after["runs"][1]["from_step"] == disturbed[0][0]["checkpoints"][-1]


@pytest.mark.parametrize(("piece", "lost"), [(2, 1), (3, 0)])
def test_a_lost_host_ends_the_others(disturbed, piece, lost):
    """JAX aborts them within the heartbeat's timeout; only the steps since the last save are lost."""
    before, seen = disturbed[0][piece - 1 : piece + 1]
    assert seen["statuses"][lost] == -signal.SIGKILL
    # Either JAX's heartbeat notices first, or a collective whose connection was closed.
    assert seen["statuses"][1 - lost] in (-signal.SIGABRT, 75), seen["errors"]
    assert seen["checkpoints"][-1] >= before["checkpoints"][-1] // 4 * 4 + 4


@pytest.mark.parametrize(("piece", "damage"), [(1, "unreadable"), (3, "no commit marker")])
def test_hosts_agree_on_the_checkpoint_to_restore(disturbed, piece, damage):
    before, seen = disturbed[0][piece : piece + 2]
    *_, good, bad = before["checkpoints"]
    assert f"checkpoint {bad} is bad: {damage}" in seen["output"][0]
    assert f"continuing from the checkpoint of step {good}\n" in seen["output"][0]
    assert seen["summary"]["runs"][-1]["from_step"] == good


def test_a_run_on_four_hosts_resumes_on_two_and_on_one(tmp_path, config, programs, uninterrupted):
    work, done = tmp_path / "work", 0
    for count in (4, 2):
        fleet = Fleet(config, work, count, _STEPS, _SLOWLY, _ONE_SAVE, environment=programs)
        wait_for_row(work, done + 3, fleet.processes[0])
        fleet.processes[count - 1].send_signal(signal.SIGTERM)
        assert fleet.end() == [75] * count, fleet.errors
        done = summary(work)["step"]
    assert run(config, work, _STEPS, _ONE_SAVE) == 0
    assert_alike(outcome(work), uninterrupted)
    assert [entry["process_count"] for entry in summary(work)["runs"]] == [4, 2, 1]


# Each kill costs a start of two processes, so there are few by default, in addition to the pieces of `disturbed`.
@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_a_run_killed_at_random_equals_an_uninterrupted_one(tmp_path, config, uninterrupted, kills):
    """With random signal, process and time: during startup, steps, saves and evaluations."""
    work, seed = tmp_path / "work", random.randrange(2**32)
    print(f"seed {seed}")
    draw, killed = random.Random(seed), 0
    while killed < kills:
        # Slow steps, so that the run does not finish before the kills.
        fleet = Fleet(config, work, 2, _STEPS, "data.delay_seconds=1", "checkpoint_every_steps=2")
        time.sleep(draw.uniform(0, 8))
        fleet.processes[draw.randrange(2)].send_signal(draw.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGINT]))
        statuses = fleet.end()
        assert set(statuses) <= _STATUSES_AFTER_A_KILL, fleet.errors
        if statuses == [0, 0]:  # the signal came after the end
            assert outcome(work) == uninterrupted
            work = tmp_path / f"work-{killed}"
        else:
            killed += 1
    fleet = Fleet(config, work, 2, _STEPS, _ONE_SAVE)
    assert fleet.end() == [0, 0], fleet.errors
    assert outcome(work) == uninterrupted


def test_separate_work_directories_are_refused(tmp_path, config):
    fleet = Fleet(config, [tmp_path / "here", tmp_path / "there"], 2)
    assert fleet.end() == [2, 2]
    assert "toy, host 1 of 2: --workdir" in fleet.errors[1]
    assert "disk that all of them mount" in fleet.errors[1]
    assert "toy, host 0 of 2: host 1: --workdir" in fleet.errors[0]


def test_a_user_error_on_host_0_ends_all(tmp_path, config):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").touch()
    fleet = Fleet(config, tmp_path / "work", 2)
    assert fleet.end() == [2, 2]
    assert "toy, host 1 of 2: host 0: --workdir" in fleet.errors[1]


def test_a_loss_that_is_not_finite_ends_all(tmp_path, config, programs):
    fleet = Fleet(config, tmp_path / "work", 2, "data.bad_step=2", environment=programs)
    assert fleet.end() == [1, 1]
    assert all("step 2: loss is inf" in error for error in fleet.errors.values())
    assert summary(tmp_path / "work")["status"] == "failed"


def test_the_wait_for_missing_hosts_is_limited(tmp_path, config):
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
def test_inconsistent_flags_are_refused(given, message):
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
        ({"SLURM_NTASKS": "8"}, 1),  # in the shell of an allocation, outside srun
    ],
)
def test_the_environment_gives_the_number_of_processes(tmp_path, environ, count):
    assert processes_of_environment(environ, root=tmp_path) == count


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (jax.errors.JaxRuntimeError("INTERNAL: Gloo AllGather failed: [..] Connection closed by peer"), True),
        (jax.errors.JaxRuntimeError(f"INTERNAL: {_FAILED_BARRIER}"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), False),
        (RuntimeError("Gloo"), False),
    ],
)
def test_a_lost_host_is_distinguished_from_a_defect(error, expected):
    """The same holds for a failed save that it caused."""
    assert lost_another(error) is expected
    consequence = RunError("the checkpoint could not be written")
    consequence.__cause__ = error
    assert lost_another(consequence) is expected
