"""Helpers that start, interrupt and compare runs of the toy job."""

import dataclasses
import functools
import json
import os
import shutil
import signal
import time

import numpy as np

from tests.train import toy
from tests.train.commands import xla_flags
from tests.train.forked import Process
from train.options import cli
from train.run import loop
from train.run.checkpoints import COMMIT_MARKER
from train.run.metrics import read_metrics


def run(config, workdir, *overrides, change=lambda job: job, more=()):
    """Runs the toy in this process and returns its status; `change` may alter the job."""

    def build(work):
        return change(toy.build(work))

    argv = ["--config", str(config), "--workdir", str(workdir), *more, *(f"--config.{item}" for item in overrides)]
    return cli.main("toy", toy.OPTIONS, functools.partial(loop.run, build=build), argv)


def launch(config, workdir, *overrides, environment=None):
    """Starts the toy in another process, with the devices of one host."""
    arguments = ("--config", config, "--workdir", workdir, *(f"--config.{item}" for item in overrides))
    return Process(*arguments, environment={"XLA_FLAGS": xla_flags(), **(environment or {})})


def outcome(workdir):
    """Returns all that must not depend on interruptions: every row and every bit of the model."""
    rows = read_metrics(workdir / "metrics.jsonl")
    names = ("step", "split", "loss", "loss_mean", "grad_norm")
    series = [tuple(row.get(name) for name in names) for row in rows]
    with np.load(workdir / "model" / "weights.npz") as weights:
        return series, {name: weights[name].tobytes() for name in weights}


def summary(workdir):
    return json.loads((workdir / "summary.json").read_text())


def wait_for_row(workdir, step, process):
    """Waits until a process has written a row of metrics for this step or a later one."""
    path, deadline = workdir / "metrics.jsonl", time.monotonic() + 240
    while not path.exists() or path.stat().st_mtime < process.started or last_row(path) < step:
        assert time.monotonic() < deadline, "the job makes no progress"
        assert process.poll(0.02) is None, process.errors


def last_row(path):
    return max((row["step"] for row in read_metrics(path)), default=0)


def signal_at(step, number=signal.SIGTERM):
    """Returns a change to the job: a signal arrives while the batch of `step` is read."""

    def change(job):
        def train_batches(start):
            for offset, batch in enumerate(job.train_batches(start)):
                if start + offset + 1 == step:
                    os.kill(os.getpid(), number)
                yield batch

        return dataclasses.replace(job, train_batches=train_batches)

    return change


def damage_empty(step):
    shutil.rmtree(step)
    step.mkdir()


DAMAGES = {
    "empty": damage_empty,
    "no commit marker": lambda step: (step / COMMIT_MARKER).unlink(),
    "unreadable": lambda step: (step / "state" / "_METADATA").write_text("{"),
}
