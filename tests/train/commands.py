"""Running a job from its command line, in a subprocess, which may be killed, or in this process."""

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
from train.options import cli, schema, tables, task_tables
from train.options.config_files import load_config
from train.run.metrics import read_metrics
from train.run.pace import COLUMNS
from train.run.programs import abstract_state

TABLES = tables.JOB_OPTIONS | task_tables.FINETUNE_OPTIONS
# Commands that take the configs of several jobs.
_SEVERAL = {"prepare": tables.JOB_OPTIONS, "show": tables.JOB_OPTIONS, "evaluate": EVALUATE_OPTIONS}


def values_of(spec):
    """Returns {dotted path: value} of a resolved config."""
    loaded = load_config(spec)
    return schema.validate(TABLES[loaded.table], loaded.values, spec)


class Command(NamedTuple):
    """`python -m train.JOB --config CONFIG` with fixed overrides."""

    job: str
    config: str
    overrides: tuple[str, ...] = ()

    def arguments(self, workdir, *overrides):
        options = [f"--config.{override}" for override in (*self.overrides, *overrides)]
        return ["--config", f"{REPOSITORY / self.config}", "--workdir", str(workdir), *options]

    def run(self, workdir, *overrides, devices=1, flags=()):
        """Runs it to its end in a subprocess."""
        return subprocess.run(
            [sys.executable, "-m", f"train.{self.job}", *self.arguments(workdir, *overrides), *flags],
            cwd=REPOSITORY,
            env=environment(devices),
            capture_output=True,
            text=True,
            check=False,
        )

    def main(self, workdir, *overrides, flags=()):
        """Runs it in this process, on one of its eight devices; returns the exit status."""
        module = importlib.import_module(f"train.{self.job}")
        table = _SEVERAL.get(self.job) or TABLES[load_config(f"{REPOSITORY / self.config}").table]
        run = module.run_request if self.job == "finetune" else module.run
        return cli.main(self.job, table, run, [*self.arguments(workdir, "mesh.data=1", *overrides), *flags])

    def stop(self, workdir, number, *overrides, delay_seconds=0.0):
        """Runs it in a subprocess and sends a signal after its first new row; returns status and standard error."""
        metrics = workdir / "metrics.jsonl"
        before = metrics.stat().st_size if metrics.exists() else 0
        process = subprocess.Popen(
            [sys.executable, "-m", f"train.{self.job}", *self.arguments(workdir, "mesh.data=1", *overrides)],
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
    """An uninterrupted run."""

    command: Command
    workdir: Path
    printed: str

    def copy(self, target, last=None):
        """Copies its work directory; with `last`, as if killed after the checkpoint of that step."""
        shutil.copytree(self.workdir, target)
        if last is not None:
            shutil.rmtree(target / "model")
            (target / "summary.json").unlink()
            for checkpoint in (target / "checkpoints").iterdir():
                if int(checkpoint.name) > last:
                    shutil.rmtree(checkpoint)
        return target


def traced(job):
    """Returns the shapes of the metrics of a job's step, traced on its first batch."""
    mesh = make_mesh(1, 1)
    state, batch = abstract_state(job, mesh)[0], next(iter(job.train_batches(0)))
    return jax.eval_shape(job.train_step, state, batch, *job.constants(mesh))[1]


def xla_flags(devices=1):
    """Returns the XLA_FLAGS of these tests with another number of devices, so that rounding is the same."""
    return re.sub(r"(?<=device_count=)\d+", str(devices), os.environ["XLA_FLAGS"])


def environment(devices=1):
    return {**os.environ, "XLA_FLAGS": xla_flags(devices)}


def series(workdir):
    """Returns the rows of metrics.jsonl without the speeds."""
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in COLUMNS} for row in rows]
