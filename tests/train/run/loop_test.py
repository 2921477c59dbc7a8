"""The loop with the toy job: the files and output of a run, and the requests it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train import toy
from tests.train.run.runs import outcome, signal_at, summary
from train.run.metrics import read_metrics
from train.run.programs import Programs


def test_a_run_writes_its_records_checkpoints_and_model(finished):
    work = finished / "work"
    rows = read_metrics(work / "metrics.jsonl")
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 21))
    assert [row["step"] for row in rows if row["split"] == "eval"] == [5, 10, 15, 20]
    measured = ["step_seconds_p50", "step_seconds_p90", "data_wait_fraction"]
    assert list(rows[2]) == ["step", "split", "loss", "loss_mean", "grad_norm", "tokens_per_second", *measured]
    assert sorted(path.name for path in (work / "checkpoints").iterdir()) == ["16", "20"]
    for name in ("loss.png", "config.json", "summary.json", "model/weights.npz"):
        assert (work / name).is_file()
    found = summary(work)
    assert (found["status"], found["step"], found["model_step"]) == ("finished", 20, 20)
    assert {"init", "compile", "data", "steps", "eval", "checkpoint", "export"} <= set(found["totals"]["seconds"])
    assert found["runs"][0]["versions"]["jax"] == jax.__version__
    assert found["runs"][0]["device_count"] == 8
    assert list(found["runs"][0]["step_seconds"]) == ["p50", "p90", "p99", "max"]
    output = (finished / "output").read_text()
    assert output.index("device: ") < output.index("272 parameters") < output.index("compiling the training step")
    assert '"step": 20' in output.splitlines()[-1]
    assert "step seconds: p50 " in output


def test_a_finished_job_is_reported_and_not_run_again(start, ten_steps, capsys):
    before = (ten_steps / "summary.json").read_bytes()
    capsys.readouterr()
    assert start("total_steps=10", change=lambda job: pytest.fail("built again")) == 0
    assert "is complete: 10 steps" in capsys.readouterr().out
    assert (ten_steps / "summary.json").read_bytes() == before


def test_losses_are_those_of_their_own_step(tmp_path, start):
    """The loop reads metrics one step late; they must still be logged for the step that computed them.

    The mean is that of the steps since the last row, weighted.
    """

    def echo(job):
        def train_step(state, batch):
            step = state["step"] + 1
            return {**state, "step": step}, {
                "loss": step.astype(jnp.float32),
                "loss_weight": 1.0 + step % 2,
                "grad_norm": jnp.float32(0),
            }

        return dataclasses.replace(job, train_step=train_step)

    start("log_every_steps=3", "checkpoint_every_steps=20", change=echo)
    rows = [row for row in read_metrics(tmp_path / "work" / "metrics.jsonl") if row["split"] == "train"]
    assert [(row["step"], row["loss"]) for row in rows] == [(step, step) for step in (3, 6, 9, 12, 15, 18, 20)]
    means = [(2 * 1 + 2 + 2 * 3) / 5, (4 + 2 * 5 + 6) / 4, (2 * 7 + 8 + 2 * 9) / 5]
    assert [row["loss_mean"] for row in rows][:3] == means
    assert "loss_weight" not in rows[0]


def test_nothing_is_compiled_after_the_first_step(start, monkeypatch):
    compiled = []
    training = False

    def listen(event, duration, **kwargs):
        if event.endswith("backend_compile_duration") and training:
            compiled.append(event)

    def compile(self, batches):
        nonlocal training
        batches = original(self, batches)
        training = True
        return batches

    original = Programs.compile
    monkeypatch.setattr(Programs, "compile", compile)
    jax.monitoring.register_event_duration_secs_listener(listen)
    jax.clear_caches()  # programs of other runs in this process would not be compiled again
    try:
        assert start() == 0
        assert compiled == []
        jax.jit(lambda x: x * 3.21)(1.0)
        assert compiled, "the listener receives no events, so this test would always pass"
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_held_out_scores_weight_rows_not_batches(tmp_path, start):
    """A score is a sum over all rows divided by their number, so a batch with fewer counted rows counts less."""

    def weighted(job):
        def eval_step(params, batch):
            return {"loss_sum": batch["value"].sum(), "count": batch["weight"].sum()}

        first = {"value": np.full(8, 1.0, np.float32), "weight": np.ones(8, np.float32)}
        second = {"value": np.eye(8, 1, dtype=np.float32)[:, 0] * 10, "weight": np.eye(8, 1, dtype=np.float32)[:, 0]}
        return dataclasses.replace(job, eval_step=eval_step, eval_batches=lambda: [first, second])

    start("total_steps=1", change=weighted)
    assert read_metrics(tmp_path / "work" / "metrics.jsonl")[-1]["loss"] == 2.0


def test_a_step_is_compiled_once_per_shape(tmp_path, start, capsys):
    def alternate_sizes(batch, index):
        return {name: array[: 8 if index % 2 else 4] for name, array in batch.items()}

    def change(job):
        def train_batches(start):
            return (alternate_sizes(batch, start + offset) for offset, batch in enumerate(job.train_batches(start)))

        def eval_batches():
            return [alternate_sizes(batch, index) for index, batch in enumerate(job.eval_batches())]

        return dataclasses.replace(job, train_batches=train_batches, eval_batches=eval_batches)

    assert start("checkpoint_every_steps=20", change=change) == 0
    printed = capsys.readouterr().out
    assert printed.count("compiling the training step: ") == printed.count("compiling the evaluation step: ") == 2
    assert start(name="interrupted", change=lambda job: signal_at(7)(change(job))) == 75
    assert start(name="interrupted", change=change) == 0
    assert outcome(tmp_path / "interrupted") == outcome(tmp_path / "work")


def test_more_steps_with_extend(ten_steps, start, capsys, uninterrupted):
    assert start("total_steps=20") == 2
    assert "--extend" in capsys.readouterr().err
    assert start("total_steps=20", more=["--extend"]) == 0
    assert "the schedule is stretched from 10 to 20 at 10" in capsys.readouterr().out
    assert outcome(ten_steps) == uninterrupted


def test_a_failing_export_leaves_the_job_unfinished(tmp_path, start):
    def change(job):
        return dataclasses.replace(job, export=lambda params, folder, evaluation: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        start("checkpoint_every_steps=20", change=change)
    assert not (tmp_path / "work" / "model").exists()
    assert summary(tmp_path / "work")["status"] == "failed"
    assert start(change=lambda job: dataclasses.replace(job, train_step=None)) == 0  # no step is left
    assert (tmp_path / "work" / "model" / "weights.npz").is_file()


def test_initial_params_start_a_new_run_but_not_a_resumed_one(tmp_path, start):
    calls = []

    def change(job):
        def initial_params():
            calls.append(1)
            return {"dense": {"kernel": np.zeros((16, 16), np.float32), "bias": np.zeros(16, np.float32)}}

        return dataclasses.replace(job, initial_params=initial_params)

    first = toy.rows(0, 1, 8)
    assert start("total_steps=4", change=lambda job: signal_at(2)(change(job))) == 75
    assert start("total_steps=4", change=change) == 0
    assert len(calls) == 1
    expected = float(np.mean(first["y"].astype(np.float64) ** 2))
    assert read_metrics(tmp_path / "work" / "metrics.jsonl")[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_other_inputs_at_the_same_path_are_refused(interrupted, start, capsys):
    """The option gives the path of the data, the fingerprint its contents."""
    changed = {"data": "other bytes"}
    assert start(change=lambda job: dataclasses.replace(job, fingerprints=changed)) == 2
    assert "data: normal -> other bytes" in capsys.readouterr().err
    assert (interrupted / "checkpoints" / "10").is_dir()


def test_a_batch_that_does_not_divide_is_refused(start, capsys):
    assert start("batch_size=12", "mesh.data=-1") == 2
    assert "Nearest valid sizes: 8 or 16" in capsys.readouterr().err


def test_an_empty_held_out_set_is_refused(start, capsys):
    assert start(change=lambda job: dataclasses.replace(job, eval_batches=list)) == 2
    assert "no held-out rows" in capsys.readouterr().err


def test_a_job_without_evaluation_runs(tmp_path, start):
    overrides = ("keep_best=true", "total_steps=6")
    assert start(*overrides, change=lambda job: dataclasses.replace(job, eval_step=None)) == 0
    assert {row["split"] for row in read_metrics(tmp_path / "work" / "metrics.jsonl")} == {"train"}


def test_batches_are_closed_at_the_end(start):
    closed = []

    def change(job):
        def train_batches(start):
            try:
                yield from exactly_total_steps(job.train_batches(start))
            finally:
                closed.append(True)

        return dataclasses.replace(job, train_batches=train_batches)

    def exactly_total_steps(batches):
        yield from batches
        raise AssertionError("more than total_steps batches were requested")

    assert start("total_steps=2", change=change) == 0
    assert closed == [True]
