"""A job as a subprocess: started, killed, started again, and what must not depend on how a run was cut up."""

import os
import subprocess
import sys
import time
from typing import NamedTuple

from tests.conftest import REPOSITORY
from train.metrics import read_metrics
from train.observe.pace import COLUMNS


class Command(NamedTuple):
    """`python -m train.JOB --config CONFIG`, with overrides that every run of it has."""

    job: str
    config: str
    overrides: tuple[str, ...] = ()

    def arguments(self, workdir, *overrides):
        options = [f"--config.{override}" for override in (*self.overrides, *overrides)]
        return [sys.executable, "-m", f"train.{self.job}", "--config", self.config, "--workdir", str(workdir), *options]

    def run(self, workdir, *overrides, devices=1, flags=()):
        return subprocess.run(
            [*self.arguments(workdir, *overrides), *flags],
            cwd=REPOSITORY,
            env=environment(devices),
            capture_output=True,
            text=True,
            check=False,
        )

    def kill_and_resume(self, workdir, expected, delay_seconds, number):
        """Starts the job, kills it `delay_seconds` after its first row, starts it again, and compares every row."""
        cadence = ("log_every_steps=1", "checkpoint_every_steps=1")
        process = subprocess.Popen(
            self.arguments(workdir, *cadence),
            cwd=REPOSITORY,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 300
        while not (workdir / "metrics.jsonl").exists() or not read_metrics(workdir / "metrics.jsonl"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay_seconds)
        process.send_signal(number)
        status = process.wait()
        resumed = self.run(workdir, *cadence)
        assert resumed.returncode == 0, resumed.stderr
        assert series(workdir) == expected
        return status


def environment(devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def series(workdir):
    """Every number of metrics.jsonl but the speeds."""
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in COLUMNS} for row in rows]
