"""A job that receives a signal."""

import dataclasses
import itertools
import os
import signal

import pytest

from tests.train.run.runs import launch, outcome, run, signal_at, summary, wait_for_row
from train.run.metrics import read_metrics


@pytest.mark.compat
@pytest.mark.parametrize("step", [2, 10, 20])
def test_a_signal_saves_at_the_step_boundary(tmp_path, start, capsys, step, uninterrupted):
    """Including an evaluation step, whose missing row is written on resume, and the last step."""
    assert start(change=signal_at(step)) == 75
    assert f"stopped by SIGTERM: step {step} of 20 is saved" in capsys.readouterr().err
    assert summary(tmp_path / "work")["status"] == "interrupted"
    assert max(int(path.name) for path in (tmp_path / "work" / "checkpoints").iterdir()) == step
    assert start() == 0
    assert outcome(tmp_path / "work") == uninterrupted


def test_a_signal_interrupts_an_evaluation(tmp_path, start, uninterrupted):
    """A second signal interrupts the repeated evaluation on resume, before any further step."""

    def change(job):
        calls = itertools.count()

        def eval_batches():
            if next(calls) == 1:  # call 0 only reads the shapes
                os.kill(os.getpid(), signal.SIGTERM)
            return job.eval_batches()

        return dataclasses.replace(job, eval_batches=eval_batches)

    for _ in range(2):
        assert start(change=change) == 75
        assert [row["split"] for row in read_metrics(tmp_path / "work" / "metrics.jsonl")] == ["train"] * 5
    assert start() == 0
    assert outcome(tmp_path / "work") == uninterrupted


def test_a_signal_that_breaks_the_data_workers_still_saves(tmp_path, start):
    """Ctrl-C reaches the worker processes as well; their error must not hide the request to stop."""

    def change(job):
        def train_batches(start):
            for offset, batch in enumerate(job.train_batches(start)):
                if start + offset + 1 == 6:
                    os.kill(os.getpid(), signal.SIGINT)
                    raise RuntimeError("worker gone")
                yield batch

        return dataclasses.replace(job, train_batches=train_batches)

    assert start(change=change) == 75
    assert (tmp_path / "work" / "checkpoints" / "5").is_dir()


def test_a_signal_before_the_first_step_ends_the_job(tmp_path, start, capsys):
    def change(job):
        os.kill(os.getpid(), signal.SIGTERM)
        return job

    assert start(change=change) == 75
    assert "outside the training steps" in capsys.readouterr().err
    assert start("total_steps=1") == 0


@pytest.mark.parametrize("third", [False, True])
def test_the_second_signal_is_ignored_and_the_third_kills(tmp_path, config, uninterrupted, third):
    work = tmp_path / "work"
    process = launch(config, work, "data.delay_seconds=2")
    wait_for_row(work, 1, process)
    for message in ("SIGTERM: saving at the end of this step", "SIGTERM: already stopping"):
        process.send_signal(signal.SIGTERM)
        process.wait_for_error(message)
    if third:
        process.send_signal(signal.SIGTERM)
    else:
        process.wait_for_error("stopped by SIGTERM")
        while process.poll(0.001) is None:  # more signals while it ends
            process.send_signal(signal.SIGTERM)
    assert process.wait() == (-signal.SIGTERM if third else 75)
    assert run(config, work) == 0
    assert outcome(work) == uninterrupted


@pytest.mark.parametrize("what", ["the check of the parameters", "the training step"])
def test_a_signal_during_compilation_ends_in_75(tmp_path, config, uninterrupted, what):
    """The compiler's threads may still be running, so the process must end without the interpreter's shutdown."""
    process = launch(config, tmp_path / "work", environment={"JAX_ENABLE_COMPILATION_CACHE": "false"})
    while f"compiling {what}" not in process.output:
        assert process.poll(0.001) is None, process.errors
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 75
    assert run(config, tmp_path / "work") == 0
    assert outcome(tmp_path / "work") == uninterrupted
