"""A job on its command line: in a process, which may be killed, or in this one; and what no interruption may change."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax

from tests.conftest import REPOSITORY
from train.evaluate import EVALUATE_OPTIONS
from train.machine.mesh import make_mesh
from train.options import cli, tables, task_tables
from train.options.config_files import load_config
from train.run.metrics import read_metrics
from train.run.pace import COLUMNS
from train.run.programs import abstract_state

TABLES = tables.JOB_OPTIONS | task_tables.FINETUNE_OPTIONS
# Of commands that take the configs of several jobs.
_SEVERAL = {"prepare": tables.JOB_OPTIONS, "show": tables.JOB_OPTIONS, "evaluate": EVALUATE_OPTIONS}


class Command(NamedTuple):
    """`python -m train.JOB --config CONFIG`, with overrides that every run of it has."""

    job: str
    config: str
    overrides: tuple[str, ...] = ()

    def words(self, workdir, *overrides):
        options = [f"--config.{override}" for override in (*self.overrides, *overrides)]
        return ["--config", f"{REPOSITORY / self.config}", "--workdir", str(workdir), *options]

    def run(self, workdir, *overrides, devices=1, flags=()):
        """In a process of its own, to its end."""
        return subprocess.run(
            [sys.executable, "-m", f"train.{self.job}", *self.words(workdir, *overrides), *flags],
            cwd=REPOSITORY,
            env=environment(devices),
            capture_output=True,
            text=True,
            check=False,
        )

    def main(self, workdir, *overrides, flags=()):
        """In this process, on one of its eight devices; returns the exit status."""
        module = importlib.import_module(f"train.{self.job}")
        table = _SEVERAL.get(self.job) or TABLES[load_config(f"{REPOSITORY / self.config}").table]
        run = module.run_request if self.job == "finetune" else module.run
        return cli.main(self.job, table, run, [*self.words(workdir, "mesh.data=1", *overrides), *flags])

    def stop(self, workdir, number, *overrides, delay_seconds=0.0):
        """Starts it as `main` does, but in a process; a signal follows its first new row. Returns status and errors."""
        metrics = workdir / "metrics.jsonl"
        before = metrics.stat().st_size if metrics.exists() else 0
        process = subprocess.Popen(
            [sys.executable, "-m", f"train.{self.job}", *self.words(workdir, "mesh.data=1", *overrides)],
            cwd=REPOSITORY,
            env=environment(jax.device_count()),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while not metrics.exists() or metrics.stat().st_size <= before:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.005)
            time.sleep(delay_seconds)
            process.send_signal(number)
            _, errors = process.communicate()
        finally:
            process.kill()
        return process.returncode, errors


class Finished(NamedTuple):
    """A run that nothing disturbed, with a row for every step."""

    command: Command
    workdir: Path
    printed: str

    def copy(self, target, last=None):
        """Its directory once more; with `last`, as a kill behind the checkpoint of that step would have left it."""
        shutil.copytree(self.workdir, target)
        if last is not None:
            shutil.rmtree(target / "model")
            (target / "summary.json").unlink()
            for checkpoint in (target / "checkpoints").iterdir():
                if int(checkpoint.name) > last:
                    shutil.rmtree(checkpoint)
        return target


def traced(job):
    """The shapes of the numbers of a job's first step, which is traced on its own first batch and not compiled."""
    mesh = make_mesh(1, 1)
    state, batch = abstract_state(job, mesh)[0], next(iter(job.train_batches(0)))
    return jax.eval_shape(job.train_step, state, batch, *job.constants(mesh))[1]


def xla_flags(devices=1):
    """Those of these tests, with another number of devices: programs that are compiled alike round alike."""
    return re.sub(r"(?<=device_count=)\d+", str(devices), os.environ["XLA_FLAGS"])


def environment(devices=1):
    return {**os.environ, "XLA_FLAGS": xla_flags(devices)}


def series(workdir):
    """Every number of metrics.jsonl but the speeds."""
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in COLUMNS} for row in rows]
