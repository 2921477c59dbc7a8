"""The Slurm script: what it asks of srun, and after which ends of a job it is queued again."""

import os
import subprocess

import pytest

from tests.conftest import REPOSITORY

SRUN = 'echo "srun $*" >>{log}\nenv >{folder}/environment\neval "$PLAN"'


@pytest.fixture
def slurm(tmp_path):
    """Runs the script as sbatch does: a copy of it, from another directory, with srun and scontrol that tell."""
    log, bin_ = tmp_path / "log", tmp_path / "bin"
    bin_.mkdir()
    for name, script in {
        "srun": SRUN.format(log=log, folder=tmp_path),
        "scontrol": f'echo "scontrol $*" >>{log}',
    }.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{script}\n")
        (bin_ / name).chmod(0o755)
    (tmp_path / "script").write_text((REPOSITORY / "tpu" / "slurm.sbatch").read_text())
    set_aside = {"JAX_PLATFORMS", "FLAX_LITE_DRY_RUN"}
    inherited = {name: value for name, value in os.environ.items() if name not in set_aside}

    def run(plan, *arguments, **more):
        settings = {"SLURM_SUBMIT_DIR": str(REPOSITORY), "SLURM_JOB_ID": "42", "SLURM_CPUS_PER_TASK": "8"}
        path = f"{bin_}:{os.environ['PATH']}"
        done = subprocess.run(
            [
                "bash",
                str(tmp_path / "script"),
                *arguments,
                "--",
                "python",
                "job.py",
                "--workdir",
                str(tmp_path / "work"),
            ],
            env={**inherited, **settings, "PLAN": plan, "PATH": path, "W": str(tmp_path / "work"), **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return done, lines

    (tmp_path / "work").mkdir()
    return run


CHECKPOINT = 'echo "{{\\"step\\": {step}}}" >"$W/summary.json"; '


def test_slurm_starts_a_task_for_each_process(slurm, tmp_path):
    done, lines = slurm("exit 0")
    assert done.returncode == 0, done.stderr
    work = tmp_path / "work"
    assert lines == [f"srun --kill-on-bad-exit=0 --wait=150 --cpus-per-task=8 python job.py --workdir {work}"]
    environment = (tmp_path / "environment").read_text().splitlines()
    assert "JAX_PLATFORMS=cuda,cpu" in environment
    assert not any(line.startswith("JAX_LOCAL_DEVICE_IDS") for line in environment)


def test_slurm_names_all_gpus_to_a_task_that_has_several(slurm, tmp_path):
    """JAX would give a Slurm task the one GPU of its number on the node."""
    slurm("exit 0", SLURM_GPUS_ON_NODE="4", SLURM_NTASKS_PER_NODE="1")
    assert "JAX_LOCAL_DEVICE_IDS=0,1,2,3" in (tmp_path / "environment").read_text().splitlines()
    slurm("exit 0", SLURM_GPUS_ON_NODE="4", SLURM_NTASKS_PER_NODE="4")
    assert "JAX_LOCAL_DEVICE_IDS" not in (tmp_path / "environment").read_text()


@pytest.mark.parametrize("status", [75, 134])
def test_slurm_queues_again_what_was_cut_off(slurm, status):
    done, lines = slurm(CHECKPOINT.format(step=100) + f"exit {status}", SLURM_RESTART_COUNT="20")
    assert done.returncode == status
    assert lines[-1] == "scontrol requeue 42"
    assert "queued again from step 100" in done.stderr


@pytest.mark.parametrize("status", [0, 1, 2])
def test_slurm_leaves_any_other_end_alone(slurm, status):
    done, lines = slurm(CHECKPOINT.format(step=100) + f"exit {status}")
    assert done.returncode == status
    assert len(lines) == 1


def test_slurm_does_not_repeat_for_ever_what_gets_nowhere(slurm, tmp_path):
    (tmp_path / "work" / "summary.json").write_text('{"step": 100}')
    repeated = ["scontrol requeue 42" in slurm("exit 75", SLURM_RESTART_COUNT=str(count))[1] for count in range(5)]
    assert repeated == [True, True, False, False, False]


def test_slurm_survives_the_signal_before_the_end(slurm):
    done, lines = slurm("kill -TERM $PPID; sleep 0.2; exit 75")
    assert done.returncode == 75
    assert lines[-1] == "scontrol requeue 42"


def test_slurm_dry_run_runs_nothing(slurm, tmp_path):
    done, lines = slurm("exit 0", "--dry_run")
    work = tmp_path / "work"
    assert done.stdout == f"srun --kill-on-bad-exit=0 --wait=150 --cpus-per-task=8 python job.py --workdir {work}\n"
    assert lines == []


def test_slurm_asks_for_notice_before_its_time_is_up():
    header = (REPOSITORY / "tpu" / "slurm.sbatch").read_text()
    assert "\n#SBATCH --signal=TERM@120\n" in header
    assert "\n#SBATCH --requeue\n" in header
