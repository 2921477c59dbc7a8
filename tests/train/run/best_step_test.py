"""keep_best and early stopping in runs of the toy job."""

import dataclasses

import pytest

from tests.train.run.runs import outcome, signal_at, summary
from train.run.checkpoints import COMMIT_MARKER, complete_steps
from train.run.metrics import read_metrics


def scripted(losses):
    """Returns a change to the job: its evaluations return these losses in this order."""
    values = iter(losses)
    return lambda job: dataclasses.replace(job, summarize=lambda results: {"loss": next(values)})


def test_a_finished_run_keeps_its_best_and_last_checkpoints_and_can_be_extended(tmp_path, start, capsys, uninterrupted):
    """During the run there are more."""
    work, during = tmp_path / "work", set()

    def change(job):
        def train_batches(start):
            for batch in job.train_batches(start):
                during.update(complete_steps(work / "checkpoints"))
                yield batch

        return scripted([1, 2])(dataclasses.replace(job, train_batches=train_batches))

    more = ("keep_best=true", "keep_checkpoints=9", "keep_checkpoints_after=1")
    assert start(*more, "total_steps=10", change=change) == 0
    assert during >= {4, 5}
    assert complete_steps(work / "checkpoints") == [5, 10]
    assert start(*more, change=scripted([3, 4]), more=["--extend"]) == 0
    assert "continuing from the checkpoint of step 10" in capsys.readouterr().out
    assert complete_steps(work / "checkpoints") == [5, 20]
    assert summary(work)["model_step"] == 5
    assert start(*more, "total_steps=24", "keep_checkpoints_after=3", change=scripted([4, 0]), more=["--extend"]) == 0
    assert complete_steps(work / "checkpoints") == [5, 20, 24]


@pytest.mark.parametrize(("losses", "best"), [([3, 1, 2, 4], 10), ([4, 3, 2, 1], 20), ([1, 1, 1, 1], 5)])
def test_the_best_checkpoint_is_kept_and_delivered(tmp_path, start, ten_steps, uninterrupted, losses, best):
    assert start("keep_best=true", "keep_checkpoints_after=1", name="best", change=scripted(losses)) == 0
    work = tmp_path / "best"
    assert {int(path.name) for path in (work / "checkpoints").iterdir()} == {best, 20}
    assert summary(work)["model_step"] == best
    assert summary(work)["evaluation"] == {"loss": min(losses)}
    models = {10: outcome(ten_steps)[1], 20: uninterrupted[1]}
    assert [step for step, model in models.items() if outcome(work)[1] == model] == [
        step for step in models if step == best
    ]


def test_a_job_ends_early_without_improvement(tmp_path, start, capsys):
    def change(job):
        return scripted([3, 1, 2, 4])(dataclasses.replace(job, patience=1))

    assert start("keep_best=true", change=change) == 0
    work = tmp_path / "work"
    assert "ended at step 15 of 20: loss has not been better than 1 (step 10)" in capsys.readouterr().out
    assert (summary(work)["step"], summary(work)["model_step"]) == (15, 10)
    assert max(row["step"] for row in read_metrics(work / "metrics.jsonl")) == 15
    assert start("keep_best=true", change=change) == 0
    assert "is complete: 15 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("losses", "step", "best"),
    [([5, 6], 20, 10), ([0.5, 1, 1], 25, 20), ([0.5, 0.4, 0.3, 0.2, 0.1], 40, 40)],
)
def test_patience_is_counted_anew_after_an_extension(tmp_path, start, capsys, losses, step, best):
    def patient(losses):
        return lambda job: scripted(losses)(dataclasses.replace(job, patience=1))

    assert start("keep_best=true", change=patient([3, 1, 2])) == 0
    interrupted = lambda job: signal_at(17)(patient([])(job))  # noqa: E731
    assert start("keep_best=true", "total_steps=40", change=interrupted, more=["--extend"]) == 75
    output = capsys.readouterr().out
    assert "--extend: total_steps 20 -> 40" in output
    assert "the run had ended early at step 15: patience is counted anew from there" in output
    assert start("keep_best=true", "total_steps=40", change=patient(losses)) == 0
    assert (summary(tmp_path / "work")["step"], summary(tmp_path / "work")["model_step"]) == (step, best)


def test_the_best_and_patience_survive_an_interruption(tmp_path, start):
    def change(job):
        return scripted([3, 1])(signal_at(12)(dataclasses.replace(job, patience=1)))

    def resume(job):
        return scripted([2])(dataclasses.replace(job, patience=1))

    assert start("keep_best=true", "keep_checkpoints=1", change=change) == 75
    assert start("keep_best=true", "keep_checkpoints=1", change=resume) == 0
    work = tmp_path / "work"
    assert (summary(work)["step"], summary(work)["model_step"]) == (15, 10)
    assert {int(path.name) for path in (work / "checkpoints").iterdir()} == {10, 15}


def test_a_best_that_was_evaluated_after_its_save_survives_a_defect(tmp_path, start):
    """A signal at step 10 prevents its evaluation; the next run evaluates it and fails before it saves again."""

    def broken(job):
        def train_batches(start):
            yield next(iter(job.train_batches(start)))
            raise RuntimeError("a defect")

        return dataclasses.replace(job, train_batches=train_batches)

    assert start("keep_best=true", change=lambda job: scripted([3])(signal_at(10)(job))) == 75
    with pytest.raises(RuntimeError, match="a defect"):
        start("keep_best=true", change=lambda job: scripted([1])(broken(job)))
    assert start("keep_best=true", change=scripted([2, 4])) == 0
    assert summary(tmp_path / "work")["model_step"] == 10


def test_an_unreadable_best_falls_back_to_the_last(tmp_path, start, capsys):
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
