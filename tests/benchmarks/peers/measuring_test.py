"""A rival whose results differ or whose process fails has no times; the others continue."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import measuring
from benchmarks.peers.measuring import Group, run_group
from benchmarks.peers.rivals import Rival

MODULE = "tests.benchmarks.peers.fake_worker"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Returns a function that runs a group of fake workers, and returns its rows and the number of steps of each."""
    monkeypatch.setattr(measuring, "_PAUSE_SECONDS", 0)
    marks = tmp_path / "marks"
    marks.mkdir()
    np.savez(tmp_path / "batch.npz", attention_mask=np.array([[1, 1, 1], [1, 1, 0]]))

    def run_fakes(kind="forward", python=None, most_rounds=None, **options):
        rivals = {
            name: Rival(
                title=name,
                module=MODULE,
                kinds=(kind,),
                options={"name": name, **extra},
                most_rounds=(most_rounds or {}).get(name, {}),
            )
            for name, extra in options.items()
        }
        case = {"kind": kind, "model": "none", "batch": str(tmp_path / "batch.npz"), "threads": 1, "marks": str(marks)}
        pythons = {name: Path(sys.executable) for name in rivals} | (python or {})
        rows = run_group(Group(case=case, rivals=rivals, pythons=pythons, rounds=3, folder=tmp_path / "group"))
        return rows, {name: len((marks / name).read_text()) if (marks / name).exists() else 0 for name in rivals}

    return run_fakes


def test_each_takes_its_turns_after_a_warm_up_step(run):
    rows, steps = run(ours={}, other={})
    assert [len(row.seconds) for row in rows.values()] == [3, 3]
    assert steps == {"ours": 4, "other": 4}
    assert rows["other"].differences == {"hidden": 0.0}
    assert rows["other"].description["lacks"] == ["everything"]


def test_a_rival_with_other_outputs_is_refused_before_it_is_timed(run):
    rows, steps = run(ours={}, wrong={"off_at_token": 2e-4}, right={"off_at_token": 5e-5, "off_at_padding": 9.0})
    assert rows["wrong"].reason == "refused: its hidden differs from flax_lite's by 2 times the tolerance"
    assert rows["wrong"].seconds == []
    assert steps["wrong"] == 0
    assert len(rows["right"].seconds) == 3


def test_nan_outputs_are_refused(run):
    rows, steps = run(ours={}, wrong={"off_at_token": float("nan")})
    assert rows["wrong"].reason.startswith("refused")
    assert steps["wrong"] == 0


def test_results_that_are_not_finite_have_no_time(run):
    rows, _ = run(ours={}, broken={"loss": float("nan")})
    assert rows["broken"].reason == "no time: its results are not finite"
    assert rows["broken"].seconds == []


def test_a_worker_that_dies_is_reported_and_the_others_continue(run):
    rows, _ = run(ours={}, dead={"dies": True}, failing={"raises": True}, other={})
    assert rows["dead"].reason.startswith("no time: failed: SIGKILL, no message; see ")
    assert "no time: ValueError: it has no such model; see" in rows["failing"].reason
    assert len(rows["other"].seconds) == 3


def test_a_rival_without_an_environment_keeps_its_row(run):
    rows, steps = run(ours={}, absent={}, python={"absent": "its environment cannot be made: no such version"})
    assert rows["absent"].reason == "no time: its environment cannot be made: no such version"
    assert steps["absent"] == 0


def test_without_flax_lite_there_is_nothing_to_compare_with(run):
    rows, steps = run(ours={"dies": True}, other={})
    assert rows["other"].reason == "not run: there is nothing to compare it with"
    assert steps == {"ours": 0, "other": 0}


def test_a_cold_pass_is_the_first_and_is_dropped_from_a_refused_rival(run):
    rows, steps = run("sts", ours={}, wrong={"off_at_token": 1.0})
    assert rows["ours"].cold_seconds > 0
    assert steps == {"ours": 4, "wrong": 1}
    assert rows["wrong"].cold_seconds is None


def test_a_rival_that_does_not_fit_into_memory_is_measured_and_not_run(run):
    rows, steps = run("memory", ours={}, large={"temporary_mib": 1e12})
    assert rows["large"].facts["temporary_mib"] == 1e12
    assert rows["large"].reason.startswith("not run: it needs 1000000000000 MiB of temporaries")
    assert steps == {"ours": 4, "large": 0}


def test_a_slow_rival_has_fewer_rounds(run):
    rows, steps = run("compile", most_rounds={"slow": {"compile": 1}}, ours={}, slow={})
    assert [len(row.seconds) for row in rows.values()] == [3, 1]
    assert steps == {"ours": 3, "slow": 1}
    assert rows["slow"].facts["step_seconds"] == 1.0


def test_every_first_step_is_that_of_a_new_process(run):
    rows, steps = run("first_step", ours={}, wrong={"off_at_token": 1.0})
    assert len(rows["ours"].seconds) == 3
    assert steps == {"ours": 4, "wrong": 1}  # the first start is not counted
    assert rows["wrong"].seconds == []


def test_a_failed_first_step_of_flax_lite_leaves_nothing_to_compare_with(run):
    rows, steps = run("first_step", ours={"dies": True}, other={})
    assert rows["other"].reason == "not run: there is nothing to compare it with"
    assert steps == {"ours": 0, "other": 0}
