"""tpu/slurm.sbatch: its srun command, and the exit statuses after which it requeues the job."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

# Starts the tasks as Slurm does, and ends with their highest status.
SRUN = """
echo "srun $*" >>{log}
env >{folder}/environment
while [[ $1 == --* ]]; do shift; done
for ((task = 0; task < ${{SLURM_NTASKS:-1}}; task++)); do
  SLURM_PROCID=$task "$@" &
  tasks+=($!)
done
if [[ -n $NOTICE ]]; then
  until [[ -e $NOTICE ]]; do sleep 0.05; done
  kill -TERM "$PPID" "${{tasks[@]}}"
fi
for task in "${{tasks[@]}}"; do
  wait "$task" || {{ status=$?; ((status > highest)) && highest=$status; }}
done
exit "${{highest:-0}}"
"""
# A process that runs its plan.
JOB = """
plan=PLAN_$SLURM_PROCID
work=$2
checkpoint() { echo "{\\"step\\": $1}" >"$work/summary.json"; }
eval "${!plan}"
"""
UNSET = {"JAX_PLATFORMS", "FLAX_LITE_DRY_RUN"}


class Slurm:
    """Runs the script as sbatch does: a copy in another directory, submitted from a checkout."""

    def __init__(self, folder):
        self.folder, self.log, self.work = folder, folder / "log", folder / "work"
        self.work.mkdir()
        shutil.copytree(REPOSITORY / "tpu", folder / "checkout" / "tpu", ignore=shutil.ignore_patterns("*.py"))
        shutil.copy(REPOSITORY / "tpu" / "slurm.sbatch", folder / "script")
        (folder / "job.sh").write_text(JOB)
        self.tool("srun", SRUN.format(log=self.log, folder=folder))
        self.tool("scontrol", f'echo "scontrol $*" >>{self.log}')
        self.job = ("bash", str(folder / "job.sh"), "--workdir", str(self.work))

    def tool(self, name, script):
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def run(self, *plans, options=(), job=None, **more):
        """Runs a job with one process per plan; returns the completed process and the calls of Slurm's commands."""
        environment = {
            **{name: value for name, value in os.environ.items() if name not in UNSET},
            **{f"PLAN_{task}": plan for task, plan in enumerate(plans)},
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(self.folder / "checkout"),
            "SLURM_JOB_ID": "42",
            "SLURM_CPUS_PER_TASK": "8",
            "SLURM_NTASKS": str(len(plans)),
        }
        done = subprocess.run(
            ["bash", str(self.folder / "script"), *options, "--", *(job or self.job)],
            env={**environment, **more},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return done, lines

    @property
    def command(self):
        options = "--kill-on-bad-exit=0 --wait=600 --cpus-per-task=8"
        return f"srun {options} bash tpu/slurm.sbatch --task=runs/slurm-42 -- {' '.join(self.job)}"


@pytest.fixture
def slurm(tmp_path):
    return Slurm(tmp_path)


def test_slurm_starts_the_tasks(slurm, tmp_path):
    done, lines = slurm.run("exit 0", "exit 0")
    assert done.returncode == 0, done.stderr
    assert lines == [slurm.command]
    environment = (tmp_path / "environment").read_text().splitlines()
    assert "JAX_PLATFORMS=cuda,cpu" in environment
    assert not any(line.startswith("JAX_LOCAL_DEVICE_IDS") for line in environment)


def test_slurm_assigns_all_gpus_to_a_single_task(slurm, tmp_path):
    """JAX would use only the GPU with the task's index on the node."""
    slurm.run("exit 0", SLURM_GPUS_ON_NODE="4", SLURM_NTASKS_PER_NODE="1")
    assert "JAX_LOCAL_DEVICE_IDS=0,1,2,3" in (tmp_path / "environment").read_text().splitlines()
    slurm.run("exit 0", SLURM_GPUS_ON_NODE="4", SLURM_NTASKS_PER_NODE="4")
    assert "JAX_LOCAL_DEVICE_IDS" not in (tmp_path / "environment").read_text()


@pytest.mark.parametrize(
    ("plans", "status"),
    [
        (["checkpoint 100; exit 75", "exit 75"], 75),
        (["checkpoint 100; kill -ABRT $$", "exit 75"], 134),
        (["checkpoint 100; exit 0", "exit 75"], 75),
        (["checkpoint 100; kill -KILL $PPID $$", "exit 0"], 75),  # with its shell: a node was lost
    ],
)
def test_slurm_requeues_an_interrupted_job(slurm, plans, status):
    done, lines = slurm.run(*plans)
    assert done.returncode == status, done.stderr
    assert lines == [slurm.command, "scontrol requeue 42"]
    assert "requeued" in done.stderr


@pytest.mark.parametrize(
    ("plans", "status"),
    [
        (["exit 0"], 0),
        (["checkpoint 100; exit 2", "exit 2"], 2),
        # srun returns 75, the highest status, but that comes from the process that lost the one with the defect.
        (["checkpoint 100; exit 1", "sleep 0.1; exit 75"], 1),
        (["checkpoint 100; exit 75", "sleep 0.1; exit 1"], 1),
        (["checkpoint 100; exit 1", "sleep 0.1; exit 134"], 1),
    ],
)
def test_slurm_does_not_requeue_after_other_statuses(slurm, plans, status):
    done, lines = slurm.run(*plans)
    assert done.returncode == status, done.stderr
    assert lines == [slurm.command]


def test_slurm_starts_three_times_in_a_row_without_a_newer_checkpoint(slurm):
    slurm.run("checkpoint 100; exit 75")

    def requeued(plan):
        return "scontrol requeue 42" in slurm.run(plan)[1]

    assert [requeued("exit 75"), requeued("exit 75"), requeued("checkpoint 200; exit 75")] == [True, True, True]
    assert [requeued("exit 75"), requeued("exit 75"), requeued("exit 75")] == [True, True, False]


def test_slurm_reads_checkpoints_in_a_bucket(slurm):
    """With the job's Python if there is no gcloud, or if it is not signed in."""
    slurm.tool("gcloud", "exit 1")
    slurm.tool(
        "python3", f'case $2 in *gcsfs*) cat "{slurm.work}/summary.json" ;; *) exec {sys.executable} "$@" ;; esac'
    )
    for step in range(1, 5):
        save = f'echo "{{\\"step\\": {step}}}" >{slurm.work}/summary.json; exit 75'
        _, lines = slurm.run("", job=("bash", "-c", save, "job", "--workdir", "gs://bucket/run"))
        assert lines[-1] == "scontrol requeue 42"


def test_slurm_passes_the_signal_before_the_time_limit_to_the_job(slurm):
    """Slurm sends it to the task's shell only; the batch script may receive it too and must not end."""
    save = 'trap "echo saved; exit 75" TERM; touch "$work/ready"; while :; do sleep 0.05; done'
    done, lines = slurm.run(f"checkpoint 1; {save}", NOTICE=str(slurm.work / "ready"))
    assert done.returncode == 75, done.stderr
    assert done.stdout == "saved\n"
    assert lines[-1] == "scontrol requeue 42"


def test_slurm_dry_run_runs_nothing(slurm):
    done, lines = slurm.run("exit 0", options=["--dry_run"])
    assert done.stdout == f"{slurm.command}\n"
    assert lines == []
    assert not (slurm.folder / "checkout" / "runs").exists()


def test_slurm_requests_a_signal_before_its_time_limit():
    header = (REPOSITORY / "tpu" / "slurm.sbatch").read_text()
    assert "\n#SBATCH --signal=TERM@120\n" in header
    assert "\n#SBATCH --requeue\n" in header
