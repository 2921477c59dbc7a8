"""Exact resume: after kills, from damaged files, on other devices."""

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


# Many moments are dear: each kill costs a start.
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_a_run_ends_as_if_it_had_not_been(tmp_path, config, whole, kills):
    """State, noise and batches follow from the seed and the step alone, so nothing but time may be lost."""
    work = tmp_path / "work"
    for kill in range(kills):
        process = launch(config, work, "data.delay_seconds=0.02")
        # Past what earlier runs did, on the whole; then anywhere within a step, a save or an evaluation.
        wait_for_row(work, 1 + 17 * kill // kills, process)
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.wait()
    assert launch(config, work).wait() == 0
    assert outcome(work) == whole
    assert any(entry["from_step"] > 0 for entry in summary(work)["runs"]), "nothing was ever continued"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_state_costs_steps_not_results(interrupted, start, capsys, damage, whole):
    """The newest checkpoint damaged, the last metrics line torn: the run goes on from the one before."""
    DAMAGES[damage](interrupted / "checkpoints" / "10")
    metrics = interrupted / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-5])
    capsys.readouterr()
    assert start() == 0
    output = capsys.readouterr().out
    assert f"checkpoint 10 is bad: {damage}" in output
    assert "continuing from the checkpoint of step 8" in output
    assert "torn line" in output
    assert outcome(interrupted) == whole
    assert summary(interrupted)["totals"]["lost_steps"] > 0


@pytest.mark.compat
def test_eight_devices_continue_as_one(tmp_path, start, config, whole):
    """Losses agree within DESIGN's bar for another layout, saved on 8 devices and continued on a machine with one."""
    assert start("mesh.data=2", "mesh.fsdp=4", change=signal_at(9)) == 75
    assert launch(config, tmp_path / "work").wait() == 0
    moved, one = outcome(tmp_path / "work")[0], whole[0]
    assert [row[:2] for row in moved] == [row[:2] for row in one]
    np.testing.assert_allclose([row[2] for row in moved], [row[2] for row in one], rtol=1e-4)
    assert [run["mesh"] for run in summary(tmp_path / "work")["runs"]] == [
        {"data": 2, "fsdp": 4},
        {"data": 1, "fsdp": 1},
    ]


@pytest.mark.compat
def test_a_work_directory_of_the_former_layout_goes_on(tmp_path, start, whole):
    """One that a signal ended at step 10, written before the modules moved (commit bd8ea2e)."""
    with tarfile.open(Path(__file__).with_name("former_layout.tar.gz")) as former:
        former.extractall(tmp_path, filter="data")
    assert start() == 0
    (rows, _), (expected, _) = outcome(tmp_path / "work"), whole
    assert [row[:2] for row in rows] == [row[:2] for row in expected]
    # The first half is another machine's.
    np.testing.assert_allclose([row[2] for row in rows], [row[2] for row in expected], rtol=1e-4)
    assert summary(tmp_path / "work")["runs"][-1]["from_step"] == 10


@pytest.mark.parametrize("when", ["saved", "wait"])
def test_the_summary_names_no_step_whose_checkpoint_is_not_whole(tmp_path, start, monkeypatch, when):
    """At every moment: as a save is begun, and where one fails."""
    status, found = Records.status, []

    def noted(self, status_, step, **more):
        status(self, status_, step, **more)
        told = summary(tmp_path / "work")["step"]
        found.append((told, told == 0 or told in complete_steps(tmp_path / "work" / "checkpoints")))

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
    assert all(whole for _, whole in found)
