"""The loop with a toy job: exact resume, interruption, divergence, saving, delivering."""

import dataclasses
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train import toy
from train import cli, loop
from train.checkpoints import COMMIT_MARKER
from train.metrics import read_metrics


def run(config, workdir, *overrides, change=lambda job: job, more=()):
    """Runs the toy in this process and returns its status; `change` may alter the job."""

    def build(work):
        return change(toy.build(work))

    argv = ["--config", str(config), "--workdir", str(workdir), *more, *(f"--config.{item}" for item in overrides)]
    return cli.main("toy", toy.LEAVES, functools.partial(loop.run, build=build), argv)


@pytest.fixture
def config(tmp_path):
    return toy.write_config(tmp_path)


@pytest.fixture
def start(tmp_path, config):
    def start(*overrides, name="work", **kwargs):
        return run(config, tmp_path / name, *overrides, **kwargs)

    return start


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcome of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(toy.write_config(folder), folder / "work") == 0
    return outcome(folder / "work")


def launch(config, workdir, *overrides, **kwargs):
    command = [sys.executable, "-m", "tests.train.toy", "--config", str(config), "--workdir", str(workdir)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen([*command, *(f"--config.{item}" for item in overrides)], env=environment, **kwargs)


def outcome(workdir):
    """All that must not depend on interruptions: every row, and every bit of the model."""
    rows = read_metrics(workdir / "metrics.jsonl")
    series = [(row["step"], row["split"], row["loss"], row.get("grad_norm")) for row in rows]
    with np.load(workdir / "model" / "weights.npz") as weights:
        return series, {name: weights[name].tobytes() for name in weights}


def summary(workdir):
    return json.loads((workdir / "summary.json").read_text())


def wait_for_row(workdir, step, after=0.0):
    """Waits until a row of that step or a later one was written later than the time `after`."""
    path, deadline = workdir / "metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and path.stat().st_mtime > after and any(row["step"] >= step for row in read_metrics(path)):
            return
        time.sleep(0.005)
    pytest.fail("the job does not get on")


def signal_at(step, number=signal.SIGTERM):
    """A change to the job: a signal arrives while the batch of `step` is fetched."""

    def change(job):
        def train_batches(start):
            for offset, batch in enumerate(job.train_batches(start)):
                if start + offset + 1 == step:
                    os.kill(os.getpid(), number)
                yield batch

        return dataclasses.replace(job, train_batches=train_batches)

    return change


# What a run leaves


def test_a_run_leaves_what_the_design_says(tmp_path, start, capsys):
    assert start("plot=true") == 0
    work = tmp_path / "work"
    rows = read_metrics(work / "metrics.jsonl")
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 21))
    assert [row["step"] for row in rows if row["split"] == "eval"] == [5, 10, 15, 20]
    measured = ["step_seconds_p50", "step_seconds_p90", "data_wait_fraction"]
    assert list(rows[2]) == ["step", "split", "loss", "grad_norm", "tokens_per_second", *measured]
    assert sorted(path.name for path in (work / "checkpoints").iterdir()) == ["16", "20"]
    for name in ("loss.png", "config.json", "summary.json", "model/weights.npz"):
        assert (work / name).is_file()
    told = summary(work)
    assert (told["status"], told["step"], told["model_step"]) == ("finished", 20, 20)
    assert {"init", "compile", "data", "steps", "eval", "checkpoint", "export"} <= set(told["totals"]["seconds"])
    assert told["runs"][0]["versions"]["jax"] == jax.__version__
    assert told["runs"][0]["device_count"] == 8
    assert list(told["runs"][0]["step_seconds"]) == ["p50", "p90", "p99", "max"]
    output = capsys.readouterr().out
    assert output.index("device: ") < output.index("272 parameters") < output.index("compiling the training step")
    assert '"step": 20' in output.splitlines()[-1]
    assert "seconds of a step: p50 " in output


def test_a_finished_job_says_so_and_does_nothing(tmp_path, start, capsys):
    start("total_steps=2")
    before = (tmp_path / "work" / "summary.json").read_bytes()
    capsys.readouterr()
    assert start("total_steps=2", change=lambda job: pytest.fail("built again")) == 0
    assert "is complete: 2 steps" in capsys.readouterr().out
    assert (tmp_path / "work" / "summary.json").read_bytes() == before


def test_losses_are_those_of_their_own_step(tmp_path, start):
    """The loop reads metrics a step late; the numbers must still stand at the step they were computed in."""

    def echo(job):
        def train_step(state, batch):
            state, metrics = job.train_step(state, batch)
            return state, {**metrics, "loss": state["step"].astype(jnp.float32)}

        return dataclasses.replace(job, train_step=train_step)

    start("log_every_steps=3", change=echo)
    rows = [row for row in read_metrics(tmp_path / "work" / "metrics.jsonl") if row["split"] == "train"]
    assert [(row["step"], row["loss"]) for row in rows] == [(step, step) for step in (3, 6, 9, 12, 15, 18, 20)]


def test_nothing_is_compiled_after_the_first_step(start, monkeypatch):
    compiled = []
    training = False

    def listen(event, duration, **kwargs):
        if event.endswith("backend_compile_duration") and training:
            compiled.append(event)

    def train(self, *args):
        nonlocal training
        training = True
        return original(self, *args)

    original = loop._Trainer.train
    monkeypatch.setattr(loop._Trainer, "train", train)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        assert start() == 0
        assert compiled == []
        jax.jit(lambda x: x * 3.21)(1.0)
        assert compiled, "the listener hears nothing: this test would pass on anything"
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_held_out_scores_weigh_rows_not_batches(tmp_path, start):
    """Sums over all rows over the count of all rows: a batch with fewer counted rows must count for less."""

    def weighted(job):
        def eval_step(params, batch):
            return {"loss_sum": batch["value"].sum(), "count": batch["weight"].sum()}

        first = {"value": np.full(8, 1.0, np.float32), "weight": np.ones(8, np.float32)}
        second = {"value": np.eye(8, 1, dtype=np.float32)[:, 0] * 10, "weight": np.eye(8, 1, dtype=np.float32)[:, 0]}
        return dataclasses.replace(job, eval_step=eval_step, eval_batches=lambda: [first, second])

    start("total_steps=1", change=weighted)
    assert read_metrics(tmp_path / "work" / "metrics.jsonl")[-1]["loss"] == 2.0


# Exact resume


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_a_run_ends_as_if_it_had_not_been(tmp_path, config, whole, kills):
    """State, noise and batches follow from the seed and the step alone, so nothing but time may be lost."""
    work = tmp_path / "work"
    for kill in range(kills):
        started = time.time()
        process = launch(config, work, "data.delay_seconds=0.02")
        # Past what earlier runs did, on the whole; then anywhere within a step, a save or an evaluation.
        wait_for_row(work, 1 + 17 * kill // kills, after=started)
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.wait()
    assert launch(config, work).wait() == 0
    assert outcome(work) == whole
    assert any(entry["from_step"] > 0 for entry in summary(work)["runs"]), "nothing was ever continued"


def damage_empty(step):
    shutil.rmtree(step)
    step.mkdir()


DAMAGES = {
    "empty": damage_empty,
    "no commit marker": lambda step: (step / COMMIT_MARKER).unlink(),
    "unreadable": lambda step: (step / "state" / "_METADATA").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_state_costs_steps_not_results(tmp_path, start, capsys, damage, whole):
    """The newest checkpoint damaged, the last metrics line torn: the run goes on from the one before."""
    start(change=signal_at(10))
    DAMAGES[damage](tmp_path / "work" / "checkpoints" / "10")
    metrics = tmp_path / "work" / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-5])
    capsys.readouterr()
    assert start() == 0
    output = capsys.readouterr().out
    assert f"checkpoint 10 is bad: {damage}" in output
    assert "continuing from the checkpoint of step 8" in output
    assert "torn line" in output
    assert outcome(tmp_path / "work") == whole
    assert summary(tmp_path / "work")["totals"]["lost_steps"] > 0


def test_eight_devices_continue_as_one(tmp_path, start, config, whole):
    """Losses agree within DESIGN's bar for another layout, saved on 8 devices and continued on a machine with one."""
    assert start("mesh.data=2", "mesh.fsdp=4", change=signal_at(9)) == 75
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.train.toy", "--config", str(config), "--workdir", str(tmp_path / "work")]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    moved, one = outcome(tmp_path / "work")[0], whole[0]
    assert [row[:2] for row in moved] == [row[:2] for row in one]
    np.testing.assert_allclose([row[2] for row in moved], [row[2] for row in one], rtol=1e-4)
    assert [run["mesh"] for run in summary(tmp_path / "work")["runs"]] == [
        {"data": 2, "fsdp": 4},
        {"data": 1, "fsdp": 1},
    ]


# Signals


@pytest.mark.parametrize("step", [2, 10, 20])
def test_a_signal_saves_at_the_step_boundary(tmp_path, start, capsys, step, whole):
    """Also at an evaluation step: the row that the interruption left out is made up for. And at the last step."""
    assert start(change=signal_at(step)) == 75
    assert f"stopped by SIGTERM: step {step} of 20 is saved" in capsys.readouterr().err
    assert summary(tmp_path / "work")["status"] == "interrupted"
    assert max(int(path.name) for path in (tmp_path / "work" / "checkpoints").iterdir()) == step
    assert start() == 0
    assert outcome(tmp_path / "work") == whole


def test_a_signal_during_evaluation_is_heard(tmp_path, start, whole):
    def change(job):
        def eval_batches():
            if (tmp_path / "work" / "metrics.jsonl").stat().st_size:  # not where the shapes are read
                os.kill(os.getpid(), signal.SIGTERM)
            return job.eval_batches()

        return dataclasses.replace(job, eval_batches=eval_batches)

    assert start(change=change) == 75
    assert [row["split"] for row in read_metrics(tmp_path / "work" / "metrics.jsonl")] == ["train"] * 5
    assert start() == 0
    assert outcome(tmp_path / "work") == whole


def test_a_signal_that_breaks_the_data_workers_still_saves(tmp_path, start):
    """Ctrl-C reaches the worker processes as well; their end must not hide what the signal asked for."""

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
    assert start() == 0


@pytest.mark.parametrize("third", [False, True])
def test_the_second_signal_is_ignored_and_the_third_kills(tmp_path, config, whole, third):
    work = tmp_path / "work"
    process = launch(config, work, "data.delay_seconds=2", stderr=subprocess.PIPE, text=True)
    wait_for_row(work, 1)
    for answer in ("SIGTERM: saving at the end of this step", "SIGTERM: already stopping"):
        process.send_signal(signal.SIGTERM)
        assert any(answer in line for line in process.stderr)
    if third:
        process.send_signal(signal.SIGTERM)
    else:
        assert any("stopped by SIGTERM" in line for line in process.stderr)
        while process.poll() is None:  # on its way out it is told again
            process.send_signal(signal.SIGTERM)
            time.sleep(0.001)
    process.communicate()
    assert process.returncode == (-signal.SIGTERM if third else 75)
    assert run(config, work) == 0
    assert outcome(work) == whole


# Divergence


def test_a_loss_that_is_not_finite_stops_with_the_step_named(tmp_path, start, capsys, whole):
    assert start("data.bad_step=11") == 1
    error = capsys.readouterr().err
    assert "step 11: loss is inf" in error
    assert "the last good checkpoint is step 8" in error
    assert "optimizer.learning_rate" in error
    assert "Traceback" not in error
    last = (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last, parse_constant=pytest.fail)["loss"] is None
    assert summary(tmp_path / "work")["status"] == "failed"
    assert sorted(path.name for path in (tmp_path / "work" / "checkpoints").iterdir()) == ["4", "8"]
    assert start() == 0
    assert outcome(tmp_path / "work") == whole


@pytest.mark.parametrize("bad_step", [8, 20])
def test_no_checkpoint_of_a_diverged_state_is_written(tmp_path, start, capsys, bad_step):
    """At a checkpoint step the loss of that very step is read before the state is saved."""
    assert start(f"data.bad_step={bad_step}") == 1
    assert f"step {bad_step}: loss is inf" in capsys.readouterr().err
    assert not (tmp_path / "work" / "checkpoints" / str(bad_step)).exists()
    assert not (tmp_path / "work" / "model").exists()


def test_parameters_that_are_not_finite_are_not_saved(tmp_path, start, capsys):
    """A finite loss says nothing about the update that follows it."""

    def change(job):
        def train_step(state, batch):
            after, metrics = job.train_step(state, batch)
            poison = jnp.where(after["step"] == 8, jnp.nan, 0.0)
            return {**after, "params": jax.tree.map(lambda leaf: leaf + poison, after["params"])}, metrics

        return dataclasses.replace(job, train_step=train_step)

    assert start(change=change) == 1
    assert "step 8: the parameters are not finite" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "work" / "checkpoints").iterdir()] == ["4"]


# Saving and delivering


def scripted(losses):
    """A change to the job: its evaluations give these losses, in this order."""
    values = iter(losses)
    return lambda job: dataclasses.replace(job, summarise=lambda results: {"loss": next(values)})


@pytest.mark.parametrize(("losses", "best"), [([3, 1, 2, 4], 10), ([4, 3, 2, 1], 20), ([1, 1, 1, 1], 5)])
def test_the_best_checkpoint_is_kept_and_delivered(tmp_path, start, losses, best):
    assert start("keep_best=true", "keep_checkpoints=1", change=scripted(losses)) == 0
    work = tmp_path / "work"
    assert {int(path.name) for path in (work / "checkpoints").iterdir()} == {best, 20}
    assert summary(work)["model_step"] == best
    assert summary(work)["evaluation"] == {"loss": min(losses)}
    start(f"total_steps={best}", f"eval_every_steps={best}", name="short", change=scripted([0, 0]))
    assert outcome(work)[1] == outcome(tmp_path / "short")[1]


def test_the_best_survives_an_interruption(tmp_path, start):
    def change(job):
        return scripted([3, 1])(signal_at(12)(job))

    assert start("keep_best=true", "keep_checkpoints=1", change=change) == 75
    assert start("keep_best=true", "keep_checkpoints=1", change=scripted([2, 4])) == 0
    assert summary(tmp_path / "work")["model_step"] == 10


def test_a_job_ends_early_where_nothing_gets_better(tmp_path, start, capsys):
    def change(job):
        return scripted([3, 1, 2, 4])(dataclasses.replace(job, patience=1))

    assert start("keep_best=true", change=change) == 0
    work = tmp_path / "work"
    assert "ended at step 15 of 20: loss has not been better than 1 (step 10)" in capsys.readouterr().out
    assert (summary(work)["step"], summary(work)["model_step"]) == (15, 10)
    assert max(row["step"] for row in read_metrics(work / "metrics.jsonl")) == 15
    assert start("keep_best=true", change=change) == 0
    assert "is complete: 15 steps" in capsys.readouterr().out


def test_patience_outlives_an_interruption(tmp_path, start):
    def change(job):
        return scripted([3, 1])(signal_at(12)(dataclasses.replace(job, patience=1)))

    assert start("keep_best=true", change=change) == 75
    assert start("keep_best=true", change=lambda job: scripted([2])(dataclasses.replace(job, patience=1))) == 0
    assert (summary(tmp_path / "work")["step"], summary(tmp_path / "work")["model_step"]) == (15, 10)


def test_a_step_is_compiled_once_for_each_shape(tmp_path, start, capsys):
    def narrower(batches, index):
        return {name: array[: 8 if index % 2 else 4] for name, array in batches.items()}

    def change(job):
        def train_batches(start):
            return (narrower(batch, start + offset) for offset, batch in enumerate(job.train_batches(start)))

        def eval_batches():
            return [narrower(batch, index) for index, batch in enumerate(job.eval_batches())]

        return dataclasses.replace(job, train_batches=train_batches, eval_batches=eval_batches)

    assert start(change=change) == 0
    printed = capsys.readouterr().out
    assert printed.count("compiling the training step: ") == printed.count("compiling the evaluation step: ") == 2
    assert start(name="interrupted", change=lambda job: signal_at(7)(change(job))) == 75
    assert start(name="interrupted", change=change) == 0
    assert outcome(tmp_path / "interrupted") == outcome(tmp_path / "work")


def test_an_unreadable_best_falls_back_on_the_last(tmp_path, start, capsys):
    def change(job):
        def train_batches(start):
            for offset, batch in enumerate(job.train_batches(start)):
                if start + offset + 1 == 20:
                    (tmp_path / "work" / "checkpoints" / "10" / COMMIT_MARKER).unlink()
                yield batch

        return scripted([3, 1, 2, 4])(dataclasses.replace(job, train_batches=train_batches))

    assert start("keep_best=true", change=change) == 0
    assert "checkpoint 10 cannot be used: no commit marker" in capsys.readouterr().out
    assert summary(tmp_path / "work")["model_step"] == 20


def test_more_steps_with_extend(tmp_path, start, capsys, whole):
    start("total_steps=10")
    assert start("total_steps=20") == 2
    assert "--extend" in capsys.readouterr().err
    assert start("total_steps=20", more=["--extend"]) == 0
    assert "the schedule is stretched from 10 to 20 at 10" in capsys.readouterr().out
    assert outcome(tmp_path / "work") == whole


def test_a_failing_export_leaves_the_job_unfinished(tmp_path, start):
    def change(job):
        return dataclasses.replace(job, export=lambda params, folder, evaluation: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        start(change=change)
    assert not (tmp_path / "work" / "model").exists()
    assert summary(tmp_path / "work")["status"] == "failed"
    assert start(change=lambda job: dataclasses.replace(job, train_step=None)) == 0  # no step is left to do
    assert (tmp_path / "work" / "model" / "weights.npz").is_file()


def test_initial_params_start_a_run_but_not_a_continued_one(tmp_path, start):
    calls = []

    def change(job):
        def initial_params():
            calls.append(1)
            return {"dense": {"kernel": np.zeros((16, 16), np.float32), "bias": np.zeros(16, np.float32)}}

        return dataclasses.replace(job, initial_params=initial_params)

    first = toy.rows(0, 1, 8)
    assert start(change=lambda job: signal_at(2)(change(job))) == 75
    assert start(change=change) == 0
    assert len(calls) == 1
    expected = float(np.mean(first["y"].astype(np.float64) ** 2))
    assert read_metrics(tmp_path / "work" / "metrics.jsonl")[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_other_inputs_under_the_same_names_are_refused(tmp_path, start, capsys):
    """The leaf says where the data is; its fingerprint says what it was."""
    start(change=signal_at(5))
    changed = {"data": "other bytes"}
    assert start(change=lambda job: dataclasses.replace(job, identity=changed)) == 2
    assert "data: normal -> other bytes" in capsys.readouterr().err
    assert (tmp_path / "work" / "checkpoints" / "5").is_dir()


def test_a_batch_that_does_not_divide_is_refused(start, capsys):
    assert start("batch_size=12", "mesh.data=-1") == 2
    assert "Nearest sizes that can: 8 or 16" in capsys.readouterr().err


def test_no_held_out_rows_are_refused(start, capsys):
    assert start(change=lambda job: dataclasses.replace(job, eval_batches=list)) == 2
    assert "no held-out rows" in capsys.readouterr().err


def test_a_job_without_evaluation_runs(tmp_path, start):
    assert start("keep_best=true", change=lambda job: dataclasses.replace(job, eval_step=None)) == 0
    assert {row["split"] for row in read_metrics(tmp_path / "work" / "metrics.jsonl")} == {"train"}


def test_batches_are_closed_at_the_end(start):
    closed = []

    def change(job):
        def train_batches(start):
            try:
                yield from itertools_forever(job.train_batches(start))
            finally:
                closed.append(True)

        return dataclasses.replace(job, train_batches=train_batches)

    def itertools_forever(batches):
        yield from batches
        raise AssertionError("asked for more than total_steps batches")

    assert start(change=change) == 0
    assert closed == [True]
