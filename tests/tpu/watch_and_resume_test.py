"""tpu/watch_and_resume.sh end to end: all scripts run for real, except for a fake gcloud."""

import os
import signal
import subprocess

import pytest

from tests.conftest import REPOSITORY
from tests.tpu.cloud import CREATE


def test_supervisor_runs_a_job_to_its_end(cloud):
    """It ignores the lock of a killed supervisor."""
    holder = subprocess.Popen(["true"])
    holder.wait()
    lock = cloud.folder.parent / "flax_lite-albert.us-west4-a.lock"
    lock.symlink_to(str(holder.pid))
    cloud.plan("exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert cloud.calls() == ["create", "setup", "start"]
    assert "tpu/delete.sh --name albert --zone us-west4-a" in done.stderr
    assert "its results are lost if the TPU VM is preempted" in done.stderr
    environment = (cloud.folder / "environment").read_text().splitlines()
    assert {"JAX_COORDINATOR_PORT=8476", "JAX_PLATFORMS=tpu,cpu"} <= set(environment)
    assert not list(cloud.folder.parent.glob("*.lock"))


def test_supervisor_recreates_a_preempted_vm_if_there_are_newer_checkpoints(cloud):
    """Twice with --max_restarts=1, because a newer checkpoint resets the count. The VM's log is lost with it."""
    checked_again = 'until (($(grep -c "worker.sh log" "$FAKE_GCLOUD/calls") > 1)); do sleep 0.1; done'
    cloud.plan(f'checkpoint 10; echo "last words"; {checked_again}; preempt', "checkpoint 20; preempt", "exit 0")
    done = cloud.supervise("--delete_when_done", "--max_restarts=1", workdir="gs://bucket/run")
    assert done.returncode == 0, done.stderr
    once = ["create", "setup", "start"]
    assert cloud.calls() == [*once, *["delete", *once] * 2, "delete"]
    assert "the TPU VM was preempted or failed (SUSPENDED); newest checkpoint: step 20" in done.stderr
    assert "its results are lost" not in done.stderr
    assert "last words" in done.stdout


def test_supervisor_stops_after_a_failure_with_its_status_and_log(cloud):
    cloud.plan("echo no such option; exit 2", "exit 0")
    done = cloud.supervise()
    assert done.returncode == 2, done.stderr
    assert cloud.planned() == ["exit 0"]
    assert "no such option" in done.stdout
    assert "stopped: the job ended with status 2" in done.stderr


def test_supervisor_stops_without_a_newer_checkpoint(cloud):
    """A start that reaches step 5, one that only reaches it again, and --max_restarts=1 more."""
    cloud.plan("checkpoint 5; exit 75", "checkpoint 5; exit 75", "exit 75", "exit 0")
    done = cloud.supervise("--max_restarts=1")
    assert done.returncode == 75, done.stderr
    assert "1 restarts in a row without a newer checkpoint than step 5" in done.stderr
    assert cloud.planned() == ["exit 0"]


def test_supervisor_relaunches_after_a_signal_or_a_lost_worker(cloud):
    cloud.plan("kill -ABRT $$", "checkpoint 2; exit 137", "kill -KILL 0", "exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert cloud.calls() == ["create", "setup", "start", *["stop", "start"] * 3]
    assert "signal 9 killed the job" in done.stderr
    assert "a worker was lost" in done.stderr


def test_supervisor_restarts_a_job_that_hangs(cloud):
    cloud.plan("sleep 600", "exit 0")
    done = cloud.supervise("--hang_seconds=2")
    assert done.returncode == 0, done.stderr
    assert "the job hangs" in done.stderr
    assert cloud.calls() == ["create", "setup", "start", "stop", "start"]


def test_supervisor_recreates_a_vm_that_does_not_answer(cloud):
    cloud.plan('touch "$FAKE_GCLOUD/silent"; sleep 60', "exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert "a worker no longer answers" in done.stderr
    assert cloud.calls() == ["create", "setup", "start", "delete", "create", "setup", "start"]


def test_supervisor_stops_if_the_tpu_is_not_active_in_time(cloud):
    cloud.write("coming.json", [["ACCEPTED", "WAITING_FOR_RESOURCES", *["PROVISIONING"] * 100]])
    done = cloud.supervise("--wait_seconds=0")
    assert done.returncode == 75, done.stderr
    assert "stays in the queue" in done.stderr
    assert cloud.calls() == ["create"]


def test_supervisor_retries_creation_and_setup(cloud):
    cloud.write("coming.json", [["FAILED"]])
    cloud.write("refused_setups", "1")
    cloud.plan("exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert cloud.calls() == ["create", "delete", "create", "setup", "setup", "start"]


def test_supervisor_stops_after_a_usage_error_of_launch(pod):
    """The name of the accelerator does not show that it has two workers."""
    done = pod.supervise()
    assert done.returncode == 2
    assert "--shared_disk" in done.stderr
    assert pod.calls() == ["create", "setup"]


def test_supervisor_creates_nothing_if_gcloud_fails(cloud):
    """Without credentials, gcloud cannot tell what exists."""
    cloud.write("broken", "")
    done = cloud.supervise()
    assert done.returncode == 1
    assert "create" not in cloud.calls()
    assert "auth tokens" in done.stderr


def test_supervisor_waits_for_the_network(cloud):
    """It must not delete a healthy TPU VM because it cannot reach it."""
    cut = 'touch "$FAKE_GCLOUD/broken" "$FAKE_GCLOUD/silent"'
    checked = 'until (($(grep -c describe "$FAKE_GCLOUD/calls") > 8)); do sleep 0.1; done'
    cloud.plan(f'{cut}; {checked}; rm "$FAKE_GCLOUD/broken" "$FAKE_GCLOUD/silent"; exit 0')
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("gcloud fails") > 3
    assert cloud.calls() == ["create", "setup", "start"]


def test_supervisor_does_not_delete_a_vm_that_never_answered(cloud):
    """If ssh does not work from here, the job may still be running."""
    assert cloud.run("create.sh", *CREATE).returncode == 0
    cloud.write("silent", "")
    done = cloud.supervise()
    assert done.returncode == 75
    assert "the workers do not answer" in done.stderr
    assert cloud.calls() == ["create"]


@pytest.mark.parametrize("missed", [False, True])
def test_an_interrupted_supervisor_leaves_the_job_to_the_next_one(cloud, missed):
    """Ctrl-C reaches gcloud too, which ends with its own status; the supervisor must end nevertheless.

    With `missed`, the supervisor's bash did not receive the signal.
    """
    cloud.plan('touch "$FAKE_GCLOUD/begun"; until [ -e "$FAKE_GCLOUD/go" ]; do sleep 0.1; done', "exit 1")
    with cloud.supervisor() as first:
        cloud.wait_for((cloud.folder / "begun").exists)
        second = cloud.supervise()
        assert second.returncode == 2
        assert f"process {first.pid} is already watching albert" in second.stderr
        cloud.write("interruptible", "")
        cloud.wait_for((cloud.folder / "interruptible-call").exists)
        for process in cloud.group(first.pid)[int(missed) :]:
            os.kill(process, signal.SIGINT)
        assert first.wait(30) == 130
        assert "a launched job continues" in first.stderr.read().lower()
    (cloud.folder / "interruptible").unlink()
    with cloud.supervisor() as third:
        assert any("the job is running already" in line for line in third.stderr)
        cloud.write("go", "")
        assert third.wait(30) == 0
    assert cloud.planned() == ["exit 1"]
    assert cloud.calls() == ["create", "setup", "start"]


def test_supervisor_refuses_a_work_directory_that_other_workers_cannot_read(cloud):
    """With more than 8 chips, before it creates any."""
    done = cloud.run("watch_and_resume.sh", *CREATE, "--accelerator_type=v5litepod-16", "--", "true", "--workdir=/data")
    assert done.returncode == 2
    assert "--workdir gs://" in done.stderr
    assert cloud.calls() == []


def test_supervisor_waits_for_every_worker(pod):
    pod.plan("exit 0", worker=0)
    pod.plan("sleep 0.5; checkpoint 7; exit 0", worker=1)
    done = pod.supervise("--shared_disk")
    assert done.returncode == 0, done.stderr
    assert '"step": 7' in (pod.folder.parent / "work" / "summary.json").read_text()


def test_supervisor_waits_for_the_cause_of_a_loss(pod):
    """A worker reports a lost worker (75) while that one is still ending with a defect."""
    pod.plan("exit 75", "exit 0", worker=0)
    pod.plan("sleep 0.3; exit 1", "exit 0", worker=1)
    done = pod.supervise("--shared_disk", "--poll_seconds=1")
    assert done.returncode == 1, done.stderr
    assert pod.planned() == ["exit 0"]


def test_supervisor_stops_hanging_workers_before_it_relaunches(pod):
    pod.plan("exit 75", "exit 0", worker=0)
    pod.plan("sleep 600", "exit 0", worker=1)
    done = pod.supervise("--shared_disk")
    assert done.returncode == 0, done.stderr
    assert pod.calls() == ["create", "setup", "start", "stop", "start"]


@pytest.mark.parametrize(
    ("ends", "decided"),
    [
        (["exited 0 10.5", "exited 0 11.0"], ""),
        (["running 5", "exited 0 11.0"], ""),
        (["exited 75 10.5", "running 5"], "75"),
        # A defect on one worker: the others lose it, before or after its status is written.
        (["exited 1 10.500", "exited 75 110.0"], "1"),
        (["exited 75 10.400", "exited 1 10.500"], "1"),
        (["exited 75 9.999", "exited 2 10.000", "exited 75 9.0"], "2"),
        (["exited 1 10.5", "exited 134 10.6", "exited 75 9.0"], "1"),
        # One is killed: the others fail in a collective with status 1, which alone would be a defect.
        (["exited 137 10.5", "exited 1 10.6", "ending 75 10.7"], "137"),
        (["exited 1 1000000009.5", "exited 137 1000000010.25"], "1"),
        (["lost", "exited 1 10.5"], "75"),
        (["none", "exited 75 10.5"], "75"),
    ],
)
def test_the_deciding_status_of_several_workers(ends, decided):
    lines = "".join(f"flax_lite-worker host-{number} {end}\n" for number, end in enumerate(ends))
    command = ["bash", "-c", "source tpu/common.sh && deciding_status"]
    done = subprocess.run(command, cwd=REPOSITORY, input=lines, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == decided
