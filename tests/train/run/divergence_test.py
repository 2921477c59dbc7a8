"""A job whose loss or parameters are no longer finite."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from tests.train.run.runs import outcome, summary


def test_a_loss_that_is_not_finite_stops_with_the_step_named(tmp_path, start, capsys, uninterrupted):
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
    assert outcome(tmp_path / "work") == uninterrupted


@pytest.mark.parametrize("bad_step", [8, 20])
def test_no_checkpoint_of_a_diverged_state_is_written(tmp_path, start, capsys, bad_step):
    """At a checkpoint step, that step's loss is read before the state is saved."""
    assert start(f"data.bad_step={bad_step}") == 1
    assert f"step {bad_step}: loss is inf" in capsys.readouterr().err
    assert not (tmp_path / "work" / "checkpoints" / str(bad_step)).exists()
    assert not (tmp_path / "work" / "model").exists()


def test_parameters_that_are_not_finite_are_not_saved(tmp_path, start, capsys):
    """The loss can be finite while the following update is not."""

    def change(job):
        def train_step(state, batch):
            after, metrics = job.train_step(state, batch)
            poison = jnp.where(after["step"] == 8, jnp.nan, 0.0)
            return {**after, "params": jax.tree.map(lambda leaf: leaf + poison, after["params"])}, metrics

        return dataclasses.replace(job, train_step=train_step)

    assert start(change=change) == 1
    assert "step 8: the parameters are not finite" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "work" / "checkpoints").iterdir()] == ["4"]
