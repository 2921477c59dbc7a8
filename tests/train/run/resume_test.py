"""Exact resume: after kills, with damaged files, on other devices."""

import random
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from tests.train.run.runs import DAMAGES, launch, outcome, signal_at, summary, wait_for_row
from train.errors import RunError
from train.run.checkpoints import Checkpoints, complete_steps
from train.run.records import Records

FEW = ("total_steps=6", "checkpoint_every_steps=2", "keep_checkpoints=9")


# Each kill costs a start, so there are few by default.
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_moment_equals_an_uninterrupted_one(tmp_path, config, uninterrupted, kills):
    """State, noise and batches depend only on the seed and the step, so a kill may cost nothing but time."""
    work = tmp_path / "work"
    for kill in range(kills):
        process = launch(config, work, "data.delay_seconds=0.02")
        # Mostly past the steps of earlier runs; then anywhere within a step, a save or an evaluation.
        wait_for_row(work, 1 + 17 * kill // kills, process)
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.wait()
    assert launch(config, work).wait() == 0
    assert outcome(work) == uninterrupted
    assert any(entry["from_step"] > 0 for entry in summary(work)["runs"]), "no run resumed"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_costs_steps_but_does_not_change_results(interrupted, start, capsys, damage, uninterrupted):
    """The newest checkpoint is damaged and the last line of metrics incomplete; the run resumes from the one before."""
    DAMAGES[damage](interrupted / "checkpoints" / "10")
    metrics = interrupted / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-5])
    capsys.readouterr()
    assert start() == 0
    output = capsys.readouterr().out
    assert f"checkpoint 10 is bad: {damage}" in output
    assert "continuing from the checkpoint of step 8" in output
    assert "incomplete line" in output
    assert outcome(interrupted) == uninterrupted
    assert summary(interrupted)["totals"]["lost_steps"] > 0


@pytest.mark.parametrize("lose_last", [False, True])
def test_rows_of_several_steps_are_the_same_after_a_resume(tmp_path, start, lose_last):
    """The run stops at step 10, or loses that checkpoint and resumes from step 8; the rows are of steps 7, 14, 20."""
    work, cadence = tmp_path / "work", "log_every_steps=7"
    assert start(cadence, name="whole") == 0
    assert start(cadence, change=signal_at(10)) == 75
    if lose_last:
        DAMAGES["empty"](work / "checkpoints" / "10")
    assert start(cadence) == 0
    rows = outcome(tmp_path / "whole")[0]
    assert outcome(work)[0] == rows
    (between,) = [row for row in rows if row[:2] == (14, "train")]
    assert between[3] not in (None, between[2])


@pytest.mark.compat
def test_a_run_on_eight_devices_resumes_on_one(tmp_path, start, config, uninterrupted):
    """Losses agree within 1e-4: another layout takes sums in another order."""
    assert start("mesh.data=2", "mesh.fsdp=4", change=signal_at(9)) == 75
    assert launch(config, tmp_path / "work").wait() == 0
    moved, one = outcome(tmp_path / "work")[0], uninterrupted[0]
    assert [row[:2] for row in moved] == [row[:2] for row in one]
    np.testing.assert_allclose([row[2] for row in moved], [row[2] for row in one], rtol=1e-4)
    assert [run["mesh"] for run in summary(tmp_path / "work")["runs"]] == [
        {"data": 2, "fsdp": 4},
        {"data": 1, "fsdp": 1},
    ]


@pytest.mark.compat
def test_a_work_directory_of_an_older_version_resumes(tmp_path, start, uninterrupted):
    """It was interrupted at step 10 and written before the modules moved (commit bd8ea2e)."""
    with tarfile.open(Path(__file__).with_name("former_layout.tar.gz")) as former:
        former.extractall(tmp_path, filter="data")
    assert start() == 0
    (rows, _), (expected, _) = outcome(tmp_path / "work"), uninterrupted
    assert [row[:2] for row in rows] == [row[:2] for row in expected]
    # The first half was computed on another machine.
    np.testing.assert_allclose([row[2] for row in rows], [row[2] for row in expected], rtol=1e-4)
    assert summary(tmp_path / "work")["runs"][-1]["from_step"] == 10


@pytest.mark.parametrize("when", ["saved", "wait"])
def test_the_summary_names_only_steps_with_a_complete_checkpoint(tmp_path, start, monkeypatch, when):
    """At every time: when a save starts, and when one fails."""
    status, found = Records.status, []

    def noted(self, status_, step, **more):
        status(self, status_, step, **more)
        step = summary(tmp_path / "work")["step"]
        found.append((step, step == 0 or step in complete_steps(tmp_path / "work" / "checkpoints")))

    monkeypatch.setattr(Records, "status", noted)
    if when == "saved":
        assert start(*FEW) == 0
        assert [step for step, _ in found] == [0, 2, 4, 6, 6]
    else:
        save = Checkpoints.save

        def failing(self, step, *arguments):
            if step == 4:
                raise RunError("no room")
            save(self, step, *arguments)

        monkeypatch.setattr(Checkpoints, "save", failing)
        assert start(*FEW) == 1
        assert found[-1] == (2, True)
    assert all(is_complete for _, is_complete in found)
