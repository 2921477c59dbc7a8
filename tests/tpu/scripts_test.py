"""Each script: its commands in a dry run, the arguments it refuses, shellcheck."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.tpu.cloud import CREATE
from tests.tpu.lines import CREATE_LINE, DELETE, DESCRIBE, SETTINGS, STATUS, STOP, WHERE, setup_lines, ssh

SCRIPTS = [*sorted((REPOSITORY / "tpu").glob("*.sh")), REPOSITORY / "tpu" / "slurm.sbatch"]


def test_shellcheck_finds_nothing():
    """Uses the shellcheck of this environment, which need not be on PATH."""
    beside = Path(sys.executable).with_name("shellcheck")
    shellcheck = beside if beside.exists() else shutil.which("shellcheck")
    assert shellcheck, "pip install -e '.[test]' brings shellcheck"
    done = subprocess.run([shellcheck, "-x", *SCRIPTS], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_are_found():
    names = {path.name for path in SCRIPTS}
    assert {"create.sh", "setup.sh", "launch.sh", "logs.sh", "watch_and_resume.sh", "delete.sh"} <= names


@pytest.mark.parametrize("path", [path for path in SCRIPTS if path.name != "common.sh"], ids=lambda path: path.name)
def test_script_has_help_and_refuses_unknown_arguments(cloud, path):
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
    assert "takes no value" in cloud.run(path.name, *action, "--dry_run=no").stderr


@pytest.mark.parametrize(
    "script", ["create.sh", "setup.sh", "launch.sh", "status.sh", "stop.sh", "logs.sh", "delete.sh"]
)
def test_script_needs_a_name_and_a_zone(cloud, script):
    assert "--name is missing" in cloud.run(script).stderr
    done = cloud.run(script, "--name=albert")
    assert done.returncode == 2
    assert "--zone is missing" in done.stderr


def test_scripts_read_name_zone_and_project_from_the_environment(cloud):
    done = cloud.run("delete.sh", "--dry_run", TPU_NAME="albert", ZONE="us-west4-a", PROJECT_ID="mine")
    assert done.stdout.splitlines() == [f"{DELETE} --project=mine"]


def test_setup_copies_the_commit_and_checks_every_worker(dry, tmp_path):
    assert dry("setup.sh", *WHERE) == setup_lines(tmp_path)


def test_setup_clones_a_commit(dry):
    given = ("--repository=https://host/a b.git", "--commit=abc123", "--python=3.11", "--directory=src/flax_lite")
    assert dry("setup.sh", *WHERE, *given) == [
        ssh(
            "if [ -e src/flax_lite/tpu/worker.sh ]; then cd src/flax_lite && tpu/worker.sh status;"
            " else echo flax_lite-worker $(hostname) none; fi"
        ),
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


def test_setup_passes_on_the_work_directory(dry, tmp_path):
    given = ("--commit=abc123", "--workdir=gs://bucket/run")
    assert dry("setup.sh", *WHERE, *given) == setup_lines(tmp_path, "abc123", "gs://bucket/run")


def test_setup_copies_a_commit_that_is_no_longer_on_a_branch(cloud):
    """A supervisor needs the commit it started with, even if the branch is rewritten meanwhile."""
    first = cloud.commit
    assert cloud.run("create.sh", *CREATE).returncode == 0
    assert cloud.run("setup.sh", *WHERE).returncode == 0
    cloud.git("commit", "-q", "--allow-empty", "--amend", "-m", "another commit")
    cloud.git("reflog", "expire", "--expire=now", "--all")
    cloud.git("gc", "-q", "--prune=now")
    assert cloud.commit != first
    assert cloud.run("setup.sh", *WHERE, f"--commit={first}").returncode == 0
    heads = cloud.git("bundle", "list-heads", str(cloud.folder / "worker-0" / "flax_lite.bundle"))
    assert heads == f"{first} refs/flax_lite/albert\n"
    assert not list(cloud.folder.parent.glob("*.bundle"))


@pytest.mark.parametrize("script", ["setup.sh", "watch_and_resume.sh"])
def test_scripts_refuse_to_copy_a_shallow_clone(cloud, script):
    (Path(cloud.environment["GIT_DIR"]) / "shallow").write_text(f"{cloud.commit}\n")
    rest = ("--accelerator_type=v6e-4", "--", "true") if script == "watch_and_resume.sh" else ()
    done = cloud.run(script, *WHERE, *rest)
    assert done.returncode == 2
    assert "git fetch --unshallow" in done.stderr
    assert cloud.calls() == []


def test_launch_starts_the_job_on_all_workers_if_none_runs(dry):
    job = ("python", "-m", "train.pretrain", "--config", "a config.py:it's", "--workdir=gs://b/w")
    start = f"cd flax_lite && tpu/worker.sh start {SETTINGS} -- {shlex.join(job)}"
    assert dry("launch.sh", *WHERE, "--", *job) == [STATUS, ssh(start)]


def test_launch_overrides_the_environment(dry):
    options = ("--env", "JAX_COORDINATOR_PORT=9000", "--env=XLA_FLAGS=--a --b")
    start = (
        "cd flax_lite && tpu/worker.sh start --env JAX_PLATFORMS=tpu,cpu --env JAX_COORDINATOR_PORT=9000"
        " --env 'XLA_FLAGS=--a --b' -- true"
    )
    assert dry("launch.sh", *WHERE, *options, "--", "true") == [STATUS, ssh(start)]


def test_launch_needs_a_job(cloud):
    done = cloud.run("launch.sh", *WHERE)
    assert done.returncode == 2
    assert "no job" in done.stderr


def test_launch_copies_the_env_file_without_printing_it(cloud):
    cloud.write("secrets", "# a comment\nTOKEN=it's a secret\n\nOTHER=1")
    launch = (*WHERE, f"--env_file={cloud.folder}/secrets", "--", "bash", "-c", 'echo "$TOKEN, $OTHER" >printed')
    assert cloud.run("create.sh", *CREATE).returncode == 0
    assert cloud.run("setup.sh", *WHERE).returncode == 0
    done = cloud.run("launch.sh", *launch)
    assert done.returncode == 0, done.stderr
    printed = cloud.folder / "worker-0" / "flax_lite" / "printed"
    cloud.wait_for(lambda: printed.exists() and printed.read_text())
    assert printed.read_text() == "it's a secret, 1\n"
    assert (cloud.folder / "worker-0" / ".flax_lite_env").stat().st_mode & 0o77 == 0
    assert "secret" not in (cloud.folder / "calls").read_text().replace("/secrets", "")


@pytest.mark.parametrize("script", ["launch.sh", "watch_and_resume.sh"])
def test_scripts_refuse_invalid_environment_settings(cloud, script):
    more = ("--accelerator_type=v6e-4",) if script == "watch_and_resume.sh" else ()
    cloud.write("settings", "A=1\nPORT\n")
    for option, message in (
        ("--env=PORT", "--env PORT: expected NAME=VALUE"),
        (f"--env_file={cloud.folder}/settings", "line 2: expected NAME=VALUE"),
        ("--env_file=/no/such/file", "cannot be read"),
    ):
        done = cloud.run(script, *WHERE, *more, option, "--", "true")
        assert done.returncode == 2
        assert message in done.stderr
    assert cloud.calls() == []


def test_launch_refuses_a_work_directory_that_other_workers_cannot_read(pod):
    """Worker 0 writes it, and all workers have to read its checkpoints."""
    assert pod.run("create.sh", *CREATE).returncode == 0
    for job in (("true", "--workdir", "/data/run"), ("true",)):
        done = pod.run("launch.sh", *WHERE, "--", *job)
        assert done.returncode == 2
        assert "--workdir gs://" in done.stderr
        assert "--shared_disk" in done.stderr
    assert pod.calls() == ["create"]
    assert pod.run("setup.sh", *WHERE).returncode == 0
    assert pod.run("launch.sh", *WHERE, "--shared_disk", "--", "true").returncode == 0
    pod.wait_for(lambda: "running" not in pod.run("status.sh", *WHERE).stdout)
    assert pod.run("launch.sh", *WHERE, "--", "true", "--workdir=gs://bucket/run").returncode == 0


def test_scripts_do_not_disturb_a_running_job(cloud):
    assert cloud.run("create.sh", *CREATE).returncode == 0
    assert cloud.run("setup.sh", *WHERE).returncode == 0
    assert cloud.run("launch.sh", *WHERE, "--", "sleep", "600").returncode == 0
    for done in (cloud.run("launch.sh", *WHERE, "--", "true"), cloud.run("setup.sh", *WHERE)):
        assert done.returncode == 2
        assert "a job is running there" in done.stderr
    assert cloud.calls() == ["create", "setup", "start"]
    assert cloud.run("stop.sh", *WHERE).returncode == 0
    assert "exited 143" in cloud.run("status.sh", *WHERE).stdout
    assert "started: sleep 600" in cloud.run("logs.sh", *WHERE, "--worker=all").stdout
    assert cloud.run("delete.sh", *WHERE, "--yes").returncode == 0


def test_status_stop_and_logs_call_the_workers(dry):
    assert dry("status.sh", *WHERE) == [STATUS]
    assert dry("stop.sh", *WHERE, "--seconds=9") == [ssh("cd flax_lite && tpu/worker.sh stop --seconds 9")]
    assert dry("logs.sh", *WHERE) == [ssh("cd flax_lite && tpu/worker.sh log --lines 40", worker=0)]
    shown = dry("logs.sh", *WHERE, "--worker=all", "--lines=7", "--follow")
    assert shown == [ssh("cd flax_lite && tpu/worker.sh log --lines 7 --follow")]


def test_delete_needs_a_confirmation(dry, cloud):
    assert dry("delete.sh", *WHERE, "--yes") == [DELETE]
    done = cloud.run("delete.sh", *WHERE)
    assert done.returncode == 2
    assert "give --yes" in done.stderr
    assert cloud.calls() == []


@pytest.mark.parametrize("workdir", ["gs://bucket/run", "/data/run"])
def test_supervisor_runs_the_commands_of_the_scripts(dry, cloud, tmp_path, workdir):
    job = ("python", "-m", "train.pretrain", "--workdir", workdir)
    lines = dry("watch_and_resume.sh", *WHERE, "--accelerator_type=v6e-4", "--env=A=1", "--", *job)
    read = f"gcloud storage cat {workdir}/summary.json"
    if workdir.startswith("/"):
        read = ssh(f"cd flax_lite && tpu/worker.sh step --workdir {workdir}", worker=0)
    assert lines == [
        CREATE_LINE.format(type="v6e-4", image="v2-alpha-tpuv6e", tier=" --spot"),
        DESCRIBE,
        *setup_lines(tmp_path, cloud.commit, workdir),
        read,
        STATUS,
        ssh(f"cd flax_lite && tpu/worker.sh start {SETTINGS} --env A=1 -- {shlex.join(job)}"),
        STOP,
        DELETE,
    ]
