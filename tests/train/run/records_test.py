"""What a run leaves of what it was watched with: event files, rates, profiles, memory; and where its programs are."""

import contextlib
import dataclasses
import functools
import io
import json
import math
import shutil
import sys
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from flax_lite.layers.execution import Execution
from tests.train import toy
from tests.train.run.events import scalars_of
from tests.train.run.runs import run
from tests.train.run.traces import traced_steps
from train.machine import hosts
from train.run import records
from train.run.metrics import read_metrics


@pytest.fixture
def work(tmp_path):
    """The work directory of `start`."""
    return tmp_path / "work"


@pytest.fixture
def start(tmp_path, work):
    """Runs the toy, with overrides and a change to the job."""
    return functools.partial(run, toy.write_config(tmp_path), work)


@pytest.fixture(scope="module")
def gone_on(once):
    """A directory with the work directory of two runs, and what they printed.

    A run to step 10, whose last checkpoint gets lost, and one from step 8 to 20; with event files.
    """

    def make(folder):
        config, work = toy.write_config(folder), folder / "work"
        with contextlib.redirect_stdout(io.StringIO()) as output:
            assert run(config, work, "tensorboard=true", "total_steps=10") == 0
            shutil.rmtree(work / "checkpoints" / "10")
            assert run(config, work, "tensorboard=true", "total_steps=20", more=["--extend"]) == 0
        (folder / "output").write_text(output.getvalue())

    return once("toy-gone-on", make)


def rows_of(work, split="train"):
    return [row for row in read_metrics(work / "metrics.jsonl") if row["split"] == split]


def runs_of(work):
    return json.loads((work / "summary.json").read_text())["runs"]


# Event files


def test_event_files_say_what_metrics_jsonl_says(gone_on):
    """Also of a run that goes on before the point where the one before it ended."""
    work = gone_on / "work"
    assert f"tensorboard --logdir {work / 'tensorboard'}" in (gone_on / "output").read_text()
    scalars = scalars_of(work / "tensorboard")
    expected = {}
    for row in read_metrics(work / "metrics.jsonl"):
        for name, value in row.items():
            if name not in ("step", "split"):
                expected.setdefault(f"{row['split']}/{name}", {})[row["step"]] = pytest.approx(value, rel=1e-6)
    assert scalars == expected
    assert {"train/loss", "train/tokens_per_second", "eval/loss"} <= set(scalars)
    assert list(scalars["train/loss"]) == list(range(1, 21))


def test_a_missing_package_is_said_before_anything_is_built(start, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # an import of it fails
    assert start("tensorboard=true", change=lambda job: pytest.fail("built")) == 2
    error = capsys.readouterr().err
    assert "pip install -e '.[tensorboard]'" in error
    assert "Traceback" not in error


# Rates


class ToyCosts:
    """Two operations for each product of a number with the toy's kernel."""

    execution = Execution()

    def flops(self, batch):
        return 2.0 * batch["x"].size * toy.WIDTH


def test_what_is_null_in_a_held_out_row_is_read_as_no_number(tmp_path):
    """As the best step is looked for, and scores are printed, when a run goes on or ends."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 4, "split": "eval", "loss": 1.5, "spearman": null}\n')
    stub: Any = SimpleNamespace(_work=SimpleNamespace(metrics=path))
    found = records.Records.evaluation(stub, 4)
    assert found["loss"] == 1.5
    assert math.isnan(found["spearman"])
    assert records.Records.evaluation(stub, 5) == {}


def with_costs(job):
    return dataclasses.replace(job, costs=ToyCosts())


def test_operations_are_counted_in_the_time_in_which_tokens_are(work, start):
    """So a token takes 2 x 16^2 of them, however long a step took; on a CPU they are a share of nothing.

    Every second batch has half of the rows: the first three 8 + 4 + 8 of 24, the next 4 + 8 + 4.
    """

    def change(job):
        def train_batches(first):
            for step, batch in enumerate(job.train_batches(first), first + 1):
                yield batch if step % 2 else {name: array[:4] for name, array in batch.items()}

        return with_costs(dataclasses.replace(job, train_batches=train_batches))

    assert start("log_every_steps=3", "total_steps=6", change=change) == 0
    assert not [row for row in rows_of(work) if "mfu" in row]
    ratios = [row["model_flops_per_second"] / row["tokens_per_second"] for row in rows_of(work)]
    assert ratios == [pytest.approx(512 * 20 / 24), pytest.approx(512 * 16 / 24)]


def test_of_a_known_peak_the_share_is_written_and_shown(work, start, monkeypatch, capsys):
    monkeypatch.setattr(records, "peak_flops_per_second", lambda costs, mesh: 1e9)
    assert start("total_steps=4", change=with_costs) == 0
    assert all(row["mfu"] == pytest.approx(row["model_flops_per_second"] / 1e9) for row in rows_of(work))
    assert "% MFU" in capsys.readouterr().out


def test_each_run_has_its_times_in_the_summary(gone_on):
    work = gone_on / "work"
    for entry in runs_of(work):
        times = entry["step_seconds"]
        assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["max"]
    assert "device_memory_peak_bytes" not in runs_of(work)[0]
    assert all(0 <= row["data_wait_fraction"] <= 1 for row in rows_of(work))


# Memory


def test_the_peak_of_memory_is_in_the_summary_and_at_the_end(work, start, monkeypatch, capsys):
    """And no event files, which nobody asked for."""
    monkeypatch.setattr(records, "peak_bytes", lambda: 3 * 2**30)
    assert start("total_steps=2") == 0
    assert runs_of(work)[0]["device_memory_peak_bytes"] == 3 * 2**30
    assert "device memory: 3.00 GiB at most" in capsys.readouterr().out
    assert not (work / "tensorboard").exists()


# Profiles


def test_a_profile_is_made_of_the_steps_that_are_named(work, start, capsys):
    assert start("profile.first_step=4", "profile.num_steps=3", "total_steps=8") == 0
    assert traced_steps(work / "profile") == [[4, 5, 6]]
    assert f"profile of steps 4 to 6: {work / 'profile'}" in capsys.readouterr().out
    assert runs_of(work)[0]["seconds"]["profile"] > 0


def test_a_run_that_goes_on_behind_the_window_says_so(work, start, capsys):
    start("profile.first_step=2", "total_steps=8")
    assert start("profile.first_step=2", "total_steps=9", more=["--extend"]) == 0
    assert len(traced_steps(work / "profile")) == 1
    assert "no profile: steps 2 to 3 were done by an earlier run, which got to step 8" in capsys.readouterr().out


def test_a_run_that_fails_in_the_window_keeps_its_profile(work, start):
    assert start("profile.first_step=4", "profile.num_steps=10", "data.bad_step=6") == 1
    assert traced_steps(work / "profile") == [[4, 5, 6, 7]]  # the loop hears of a step when the next one is on its way


def test_a_window_behind_the_end_is_refused(start, capsys):
    assert start("profile.first_step=21", change=lambda job: pytest.fail("built")) == 2
    assert "at most total_steps=20" in capsys.readouterr().err


# Compiled programs


def test_the_line_says_which_programs_are_kept(gone_on):
    line = f"compilation cache: {jax.config.jax_compilation_cache_dir} (JAX_COMPILATION_CACHE_DIR)\n"
    assert (gone_on / "output").read_text().count(line) == 2


@pytest.fixture
def _everything_is_kept():
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


@pytest.mark.usefixtures("_everything_is_kept")
def test_a_jobs_programs_are_kept_where_it_says(tmp_path, start, capsys):
    shared = jax.config.jax_compilation_cache_dir
    # With a seed of its own: what another run of this process has compiled, is not compiled again.
    assert start("total_steps=1", "seed=7", f"compilation_cache={tmp_path / 'programs'}") == 0
    assert f"compilation cache: {tmp_path / 'programs'}\n" in capsys.readouterr().out
    assert list((tmp_path / "programs").glob("jit_*train_step*-cache"))
    assert jax.config.jax_compilation_cache_dir == shared


def test_programs_are_not_kept_where_others_could_write(tmp_path, start, capsys):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    override = f"compilation_cache={tmp_path / 'open'}"
    assert start(override, change=lambda job: pytest.fail("built")) == 2
    error = capsys.readouterr().err
    assert "may be written by other users" in error
    assert "Traceback" not in error


# Several processes


@pytest.fixture
def _writes_nothing(monkeypatch):
    monkeypatch.setattr(hosts, "is_first", lambda: False)


@pytest.mark.usefixtures("_writes_nothing")
def test_a_process_that_writes_nothing_still_trains_and_watches(work, start, capsys):
    assert start("tensorboard=true", "total_steps=4") == 0
    assert not {"metrics.jsonl", "summary.json", "tensorboard"} & {path.name for path in work.iterdir()}
    assert start("total_steps=8", "data.bad_step=6", more=["--extend"]) == 1
    assert "step 6: loss is inf" in capsys.readouterr().err
