"""The supervisor from end to end: its scripts and the worker's really run, gcloud is fake."""

import pytest

from tests.tpu.cloud import CREATE, Cloud


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


@pytest.fixture
def pod(tmp_path):
    return Cloud(tmp_path, workers=2)


def test_supervisor_runs_a_job_to_its_end(cloud):
    cloud.plan("exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert cloud.calls() == ["create", "setup", "start"]
    assert "tpu/delete.sh --name albert --zone us-west4-a" in done.stderr
    environment = (cloud.folder / "environment").read_text().splitlines()
    assert {"JAX_COORDINATOR_PORT=8476", "JAX_PLATFORMS=tpu,cpu"} <= set(environment)


def test_supervisor_deletes_when_done_if_asked(cloud):
    cloud.plan("exit 0")
    assert cloud.supervise("--delete_when_done").returncode == 0
    assert cloud.calls() == ["create", "setup", "start", "delete"]


def test_supervisor_recreates_what_was_preempted(cloud):
    cloud.plan("checkpoint 100; preempt", "checkpoint 200; preempt", "exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert cloud.calls() == ["create", "setup", "start", *["delete", "create", "setup", "start"] * 2]
    assert "preempted" in done.stderr


@pytest.mark.parametrize("status", [1, 2, 3])
def test_supervisor_stops_at_a_failure_with_its_status_and_log(cloud, status):
    cloud.plan(f"echo no such option; exit {status}", "exit 0")
    done = cloud.supervise()
    assert done.returncode == status, done.stderr
    assert cloud.calls() == ["create", "setup", "start", "log"]
    assert "no such option" in done.stdout
    assert f"ended with status {status}" in done.stderr


def test_supervisor_stops_without_a_newer_checkpoint(cloud):
    """A start that comes to step 5, and --max_restarts=2 more, after the last of which it stops."""
    cloud.plan("checkpoint 5; exit 75", "exit 75", "checkpoint 5; exit 75", "exit 75", "exit 0")
    done = cloud.supervise()
    assert done.returncode == 75, done.stderr
    assert "2 restarts in a row without a newer checkpoint than step 5" in done.stderr
    assert cloud.planned() == ["exit 0"]


def test_supervisor_goes_on_as_long_as_checkpoints_do(cloud):
    cloud.plan(*[f"checkpoint {step}; exit 75" for step in range(10, 70, 10)], "exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert cloud.calls() == ["create", "setup", "start", *["stop", "start"] * 6]


def test_supervisor_counts_restarts_anew_after_a_checkpoint(cloud):
    cloud.plan("exit 75", "checkpoint 10; exit 75", "exit 75", "exit 75", "exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr


def test_supervisor_reads_steps_from_a_bucket(cloud):
    steps = [f"checkpoint {step}; preempt" for step in (10, 20, 30, 40)]
    cloud.plan(*steps, "exit 0")
    done = cloud.supervise(workdir="gs://bucket/run")
    assert done.returncode == 0, done.stderr
    assert "newest checkpoint: step 40" in done.stderr
    assert "takes what it has done" not in done.stderr


def test_supervisor_warns_of_a_work_directory_that_preemption_takes(cloud):
    cloud.plan("exit 0")
    assert "a preempted TPU VM takes what it has done with it" in cloud.supervise().stderr


@pytest.mark.parametrize("death", ["kill -KILL $$", "kill -ABRT $$", "exit 134"])
def test_supervisor_relaunches_after_death_by_a_signal(cloud, death):
    cloud.plan(death, "exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert cloud.calls() == ["create", "setup", "start", "stop", "start"]


def test_supervisor_relaunches_where_a_worker_was_lost(cloud):
    cloud.plan("kill -KILL 0", "exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert "a worker was lost" in done.stderr
    assert cloud.calls() == ["create", "setup", "start", "stop", "start"]


def test_supervisor_recreates_a_vm_that_does_not_answer(cloud):
    cloud.plan('touch "$FAKE_GCLOUD/silent"; sleep 60', "exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert "a worker does not answer any more" in done.stderr
    assert cloud.calls() == ["create", "setup", "start", "delete", "create", "setup", "start"]


def test_supervisor_stops_where_no_tpu_comes_in_time(cloud):
    cloud.write("coming.json", [["WAITING_FOR_RESOURCES", *["PROVISIONING"] * 100]])
    done = cloud.run("watch_and_resume.sh", *CREATE, "--wait_seconds=0", "--", "true")
    assert done.returncode == 75, done.stderr
    assert "stays in the queue" in done.stderr
    assert cloud.calls() == ["create", "log"]


def test_supervisor_asks_again_where_creation_failed(cloud):
    cloud.write("coming.json", [["FAILED"]])
    cloud.plan("exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert cloud.calls() == ["create", "delete", "create", "setup", "start"]


def test_supervisor_sets_up_again_what_could_not_be_set_up(cloud):
    cloud.write("refused_setups", "1")
    cloud.plan("exit 0")
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert cloud.calls() == ["create", "setup", "setup", "start"]


def test_supervisor_creates_nothing_where_gcloud_fails(cloud):
    """A gcloud without credentials says nothing of what exists."""
    cloud.write("broken", "")
    done = cloud.supervise()
    assert done.returncode == 1
    assert "create" not in cloud.calls()
    assert "auth tokens" in done.stderr


def test_supervisor_takes_up_a_job_that_runs(cloud):
    cloud.plan("exit 0", "sleep 3; exit 0")
    assert cloud.supervise().returncode == 0
    cloud.run("launch.sh", *CREATE[:2], "--", "bash", str(cloud.folder / "job.sh"), "--workdir", cloud.workdir)
    done = cloud.supervise()
    assert done.returncode == 0, done.stderr
    assert "the job is running already" in done.stderr
    assert cloud.calls() == ["create", "setup", "start", "start"]


def test_supervisor_waits_for_every_worker(pod):
    pod.plan("exit 0", worker=0)
    pod.plan("sleep 2; checkpoint 7; exit 0", worker=1)
    done = pod.supervise()
    assert done.returncode == 0, done.stderr
    assert '"step": 7' in (pod.folder.parent / "work" / "summary.json").read_text()


def test_supervisor_takes_the_first_failure_for_the_cause(pod):
    """A defect on one worker: the other is aborted by JAX, which alone would be a reason to go on."""
    pod.plan("exit 1", "exit 0", worker=0)
    pod.plan("sleep 1; exit 134", "exit 0", worker=1)
    assert pod.supervise().returncode == 1


def test_supervisor_takes_later_failures_for_consequences(pod):
    """One worker is killed: the other fails in a collective, which alone would be a defect."""
    pod.plan("exit 137", "exit 0", worker=0)
    pod.plan("sleep 0.1; exit 1", "exit 0", worker=1)
    done = pod.supervise()
    assert done.returncode == 0, done.stderr
    assert pod.calls().count("start") == 2


def test_supervisor_ends_workers_that_hang_before_it_launches_again(pod):
    pod.plan("exit 75", "exit 0", worker=0)
    pod.plan("sleep 600", "exit 0", worker=1)
    done = pod.supervise()
    assert done.returncode == 0, done.stderr
    assert pod.calls() == ["create", "setup", "start", "stop", "start"]
