"""The scripts one by one: what each would run, word for word; what each refuses; shellcheck."""

import shlex
import subprocess

import pytest

from tests.conftest import REPOSITORY
from tests.tpu.cloud import CREATE, Cloud

SCRIPTS = [*sorted((REPOSITORY / "tpu").glob("*.sh")), REPOSITORY / "tpu" / "slurm.sbatch"]
WHERE = ("--name", "albert", "--zone", "us-west4-a")
SSH = (
    "gcloud compute tpus tpu-vm ssh albert --worker={worker} {command} '--ssh-flag=-o ConnectTimeout=30'"
    " '--ssh-flag=-o ServerAliveInterval=30' '--ssh-flag=-o ServerAliveCountMax=4' --zone=us-west4-a"
)
DESCRIBE = "gcloud compute tpus queued-resources describe albert '--format=value(state.state)' --zone=us-west4-a"
DELETE = "gcloud compute tpus queued-resources delete albert --force --quiet --zone=us-west4-a"
CREATE_LINE = (
    "gcloud compute tpus queued-resources create albert --node-id=albert --accelerator-type={type}"
    " --runtime-version={image}{tier} --zone=us-west4-a"
)


def ssh(command, worker="all"):
    return SSH.format(worker=worker, command=shlex.quote(f"--command={command}"))


def setup_lines(folder, commit="FETCH_HEAD"):
    bundle = f"{folder}/flax_lite-albert.bundle"
    return [
        f"git -C {REPOSITORY} bundle create --quiet {bundle} HEAD",
        f"gcloud compute tpus tpu-vm scp {bundle} albert:flax_lite.bundle --worker=all --zone=us-west4-a",
        f"rm -f {bundle}",
        ssh(
            'git init --quiet flax_lite && git -C flax_lite fetch --quiet "$HOME"/flax_lite.bundle HEAD &&'
            f" git -C flax_lite checkout --quiet --detach {commit}"
        ),
        ssh("cd flax_lite && tpu/worker.sh setup --python 3.12"),
        ssh("cd flax_lite && tpu/worker.sh doctor"),
    ]


STATUS = ssh("cd flax_lite && tpu/worker.sh status")
STOP = ssh("cd flax_lite && tpu/worker.sh stop --seconds 120")
SETTINGS = "--env JAX_COORDINATOR_PORT=8476 --env JAX_PLATFORMS=tpu,cpu"


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


@pytest.fixture
def dry(cloud):
    """Runs a script dry and returns its lines; gcloud must not have been called."""

    def run(script, *arguments):
        done = cloud.run(script, *arguments, "--dry_run") if "--" not in arguments else _before(script, arguments)
        assert done.returncode == 0, done.stderr
        assert not (cloud.folder / "calls").exists()
        return done.stdout.splitlines()

    def _before(script, arguments):
        end = arguments.index("--")
        return cloud.run(script, *arguments[:end], "--dry_run", *arguments[end:])

    return run


def test_shellcheck_finds_nothing():
    done = subprocess.run(["shellcheck", "-x", *SCRIPTS], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_are_found():
    names = {path.name for path in SCRIPTS}
    assert {"create.sh", "setup.sh", "launch.sh", "logs.sh", "watch_and_resume.sh", "delete.sh"} <= names


@pytest.mark.parametrize("path", [path for path in SCRIPTS if path.name != "common.sh"], ids=lambda path: path.name)
def test_script_explains_itself_and_refuses_what_it_does_not_know(cloud, path):
    assert "set -euo pipefail" in path.read_text()
    action = ["status"] if path.name == "worker.sh" else []
    shown = cloud.run(path.name, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"tpu/{path.name}" in shown.stdout
    assert "#SBATCH" not in shown.stdout
    unknown = cloud.run(path.name, *action, "--no_such_option", "3")
    assert unknown.returncode == 2
    assert "unknown option --no_such_option" in unknown.stderr
    assert cloud.run(path.name, *action, "stray").returncode == 2


@pytest.mark.parametrize(
    "script", ["create.sh", "setup.sh", "launch.sh", "status.sh", "stop.sh", "logs.sh", "delete.sh"]
)
def test_script_needs_a_name_and_a_zone(cloud, script):
    assert "--name is missing" in cloud.run(script).stderr
    done = cloud.run(script, "--name=albert")
    assert done.returncode == 2
    assert "--zone is missing" in done.stderr


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("v5litepod-8", "v2-alpha-tpuv5-lite"),
        ("v6e-4", "v2-alpha-tpuv6e"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v4-8", "tpu-ubuntu2204-base"),
        ("v3-8", "tpu-ubuntu2204-base"),
    ],
)
def test_create_asks_for_a_spot_vm_with_the_accelerators_image(dry, kind, image):
    line = CREATE_LINE.format(type=kind, image=image, tier=" --spot")
    assert dry("create.sh", *WHERE, "--accelerator_type", kind) == [line, DESCRIBE]


@pytest.mark.parametrize(
    ("options", "tier"),
    [(["--on_demand"], ""), (["--flex_start=4h"], " --provisioning-model=flex-start --max-run-duration=4h")],
)
def test_create_asks_for_other_tiers(dry, options, tier):
    line = CREATE_LINE.format(type="v6e-8", image="an-image", tier=tier)
    if "flex" in tier:
        line = line.replace("gcloud compute", "gcloud alpha compute")
    given = ("--accelerator_type=v6e-8", "--runtime_version=an-image", *options)
    assert dry("create.sh", *WHERE, *given) == [line, DESCRIBE]


def test_create_hands_on_a_project_and_more_arguments(dry):
    given = (*WHERE, "--accelerator_type=v6e-8", "--project=mine", "--", "--network=a b")
    created, described = dry("create.sh", *given)
    assert created.endswith("--spot --zone=us-west4-a --project=mine '--network=a b'")
    assert described == f"{DESCRIBE} --project=mine"


def test_scripts_take_place_and_name_from_the_environment(cloud):
    done = cloud.run("delete.sh", "--dry_run", TPU_NAME="albert", ZONE="us-west4-a", PROJECT_ID="mine")
    assert done.stdout.splitlines() == [f"{DELETE} --project=mine"]


@pytest.mark.parametrize(
    ("kind", "cure"),
    [("v5e-8", "v5litepod-8"), ("tpu7x-8", "GKE"), ("h100", "--runtime_version")],
)
def test_create_refuses_other_accelerators(cloud, kind, cure):
    done = cloud.run("create.sh", *WHERE, "--accelerator_type", kind, "--dry_run")
    assert done.returncode == 2
    assert cure in done.stderr


def test_create_refuses_two_tiers_and_times_that_are_none(cloud):
    assert "give one" in cloud.run("create.sh", *CREATE, "--on_demand", "--flex_start=4h").stderr
    done = cloud.run("create.sh", *CREATE, "--wait_seconds=long")
    assert done.returncode == 2
    assert "whole number" in done.stderr


def test_create_says_each_state_and_waits_for_the_last(cloud):
    cloud.write("coming.json", [["WAITING_FOR_RESOURCES", "PROVISIONING"]])
    done = cloud.run("create.sh", *CREATE, "--poll_seconds=0")
    assert done.returncode == 0, done.stderr
    said = [line.split(" after ")[0] for line in done.stderr.splitlines()]
    assert said == [f"create: albert is {state}" for state in ("WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")]
    assert cloud.run("create.sh", *CREATE).returncode == 0
    assert cloud.calls() == ["create"]


def test_create_goes_on_waiting_for_a_request_that_is_there(cloud):
    cloud.write("coming.json", [["WAITING_FOR_RESOURCES"] * 3])
    waited = cloud.run("create.sh", *CREATE, "--wait_seconds=0")
    assert waited.returncode == 75
    assert "goes on waiting" in waited.stderr
    assert cloud.run("create.sh", *CREATE, "--poll_seconds=0").returncode == 0
    assert cloud.calls() == ["create"]


def test_create_stops_at_a_request_that_failed(cloud):
    cloud.write("coming.json", [["FAILED"]])
    done = cloud.run("create.sh", *CREATE)
    assert done.returncode == 1
    assert "tpu/delete.sh --name albert --zone us-west4-a" in done.stderr


def test_setup_copies_the_commit_and_examines_every_worker(dry, tmp_path):
    assert dry("setup.sh", *WHERE) == setup_lines(tmp_path)


def test_setup_clones_a_commit(dry):
    given = ("--repository=https://host/a b.git", "--commit=abc123", "--python=3.11", "--directory=src/flax_lite")
    assert dry("setup.sh", *WHERE, *given) == [
        ssh(
            "git init --quiet src/flax_lite && git -C src/flax_lite fetch --quiet 'https://host/a b.git' abc123 &&"
            " git -C src/flax_lite checkout --quiet --detach FETCH_HEAD"
        ),
        ssh("cd src/flax_lite && tpu/worker.sh setup --python 3.11"),
        ssh("cd src/flax_lite && tpu/worker.sh doctor"),
    ]


def test_setup_of_a_repository_needs_a_commit(cloud):
    done = cloud.run("setup.sh", *WHERE, "--repository=https://host/x.git")
    assert done.returncode == 2
    assert "--commit is missing" in done.stderr


def test_setup_brings_an_older_commit(dry, tmp_path):
    assert dry("setup.sh", *WHERE, "--commit=abc123") == setup_lines(tmp_path, "abc123")


def test_launch_starts_the_job_on_all_workers_if_none_runs(dry):
    job = ("python", "-m", "train.pretrain", "--config", "a config.py:it's", "--workdir=gs://b/w")
    start = f"cd flax_lite && tpu/worker.sh start {SETTINGS} -- {shlex.join(job)}"
    assert dry("launch.sh", *WHERE, "--", *job) == [STATUS, ssh(start)]


def test_launch_lets_the_environment_be_chosen(dry):
    options = ("--env", "JAX_COORDINATOR_PORT=9000", "--env=XLA_FLAGS=--a --b")
    start = (
        "cd flax_lite && tpu/worker.sh start --env JAX_PLATFORMS=tpu,cpu --env JAX_COORDINATOR_PORT=9000"
        " --env 'XLA_FLAGS=--a --b' -- true"
    )
    assert dry("launch.sh", *WHERE, *options, "--", "true") == [STATUS, ssh(start)]


def test_launch_refuses_no_job_and_a_setting_that_is_none(cloud):
    assert "no job" in cloud.run("launch.sh", *WHERE).stderr
    done = cloud.run("launch.sh", *WHERE, "--env", "PORT", "--", "true")
    assert done.returncode == 2
    assert "expected NAME=VALUE" in done.stderr


def test_launch_refuses_a_second_job(cloud):
    assert cloud.run("create.sh", *CREATE).returncode == 0
    assert cloud.run("setup.sh", *WHERE).returncode == 0
    assert cloud.run("launch.sh", *WHERE, "--", "sleep", "600").returncode == 0
    second = cloud.run("launch.sh", *WHERE, "--", "true")
    assert second.returncode == 2
    assert "a job is running there" in second.stderr
    assert cloud.calls().count("start") == 1
    assert cloud.run("stop.sh", *WHERE).returncode == 0
    assert "exited 143" in cloud.run("status.sh", *WHERE).stdout
    assert "started: sleep 600" in cloud.run("logs.sh", *WHERE, "--worker=all").stdout
    assert cloud.run("delete.sh", *WHERE, "--yes").returncode == 0


def test_status_stop_and_logs_ask_the_workers(dry):
    assert dry("status.sh", *WHERE) == [STATUS]
    assert dry("stop.sh", *WHERE, "--seconds=9") == [ssh("cd flax_lite && tpu/worker.sh stop --seconds 9")]
    assert dry("logs.sh", *WHERE) == [ssh("cd flax_lite && tpu/worker.sh log --lines 40", worker=0)]
    shown = dry("logs.sh", *WHERE, "--worker=all", "--lines=7", "--follow")
    assert shown == [ssh("cd flax_lite && tpu/worker.sh log --lines 7 --follow")]


def test_delete_asks_or_is_told(dry, cloud):
    assert dry("delete.sh", *WHERE, "--yes") == [DELETE]
    done = cloud.run("delete.sh", *WHERE)
    assert done.returncode == 2
    assert "give --yes" in done.stderr
    assert cloud.calls() == []


@pytest.mark.parametrize("workdir", ["gs://bucket/run/", "/data/run"])
def test_supervisor_would_run_what_the_scripts_would(dry, tmp_path, workdir):
    job = ("python", "-m", "train.pretrain", "--workdir", workdir)
    lines = dry("watch_and_resume.sh", *WHERE, "--accelerator_type=v6e-4", "--env=A=1", "--", *job)
    read = "gcloud storage cat gs://bucket/run/summary.json"
    if workdir.startswith("/"):
        read = ssh(f"cd flax_lite && tpu/worker.sh step --workdir {workdir}", worker=0)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert lines == [
        CREATE_LINE.format(type="v6e-4", image="v2-alpha-tpuv6e", tier=" --spot"),
        DESCRIBE,
        *setup_lines(tmp_path, head.stdout.strip()),
        read,
        STATUS,
        ssh(f"cd flax_lite && tpu/worker.sh start {SETTINGS} --env A=1 -- {shlex.join(job)}"),
        STOP,
        DELETE,
    ]
