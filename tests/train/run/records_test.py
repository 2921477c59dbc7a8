"""Monitoring of a run: event files, rates, profiles, memory, and the compilation cache."""

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
def resumed(once):
    """A directory with the work directory and the output of two runs that write event files.

    The first runs to step 10 and loses its last checkpoint; the second runs from step 8 to 20.
    """

    def make(folder):
        config, work = toy.write_config(folder), folder / "work"
        with contextlib.redirect_stdout(io.StringIO()) as output:
            assert run(config, work, "tensorboard=true", "total_steps=10") == 0
            shutil.rmtree(work / "checkpoints" / "10")
            assert run(config, work, "tensorboard=true", "total_steps=20", more=["--extend"]) == 0
        (folder / "output").write_text(output.getvalue())

    return once("toy-resumed", make)


def rows_of(work, split="train"):
    return [row for row in read_metrics(work / "metrics.jsonl") if row["split"] == split]


def runs_of(work):
    return json.loads((work / "summary.json").read_text())["runs"]


# Event files


def test_event_files_equal_metrics_jsonl(resumed):
    """Including a run that resumes at an earlier step than the previous one reached."""
    work = resumed / "work"
    assert f"tensorboard --logdir {work / 'tensorboard'}" in (resumed / "output").read_text()
    scalars = scalars_of(work / "tensorboard")
    expected = {}
    for row in read_metrics(work / "metrics.jsonl"):
        for name, value in row.items():
            if name not in ("step", "split"):
                expected.setdefault(f"{row['split']}/{name}", {})[row["step"]] = pytest.approx(value, rel=1e-6)
    assert scalars == expected
    assert {"train/loss", "train/tokens_per_second", "eval/loss"} <= set(scalars)
    assert list(scalars["train/loss"]) == list(range(1, 21))


def test_a_missing_package_is_reported_before_the_job_is_built(start, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # an import of it fails
    assert start("tensorboard=true", change=lambda job: pytest.fail("built")) == 2
    error = capsys.readouterr().err
    assert "pip install -e '.[tensorboard]'" in error
    assert "Traceback" not in error


# Rates


class ToyCosts:
    """Two FLOPs per multiplication of an input with an entry of the toy's kernel."""

    execution = Execution()

    def flops(self, batch):
        return 2.0 * batch["x"].size * toy.WIDTH


def test_null_in_a_held_out_row_is_read_as_nan(tmp_path):
    """A resumed run reads these rows to find the best step, and a finished one to print its scores."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 4, "split": "eval", "loss": 1.5, "spearman": null}\n')
    stub: Any = SimpleNamespace(_work=SimpleNamespace(metrics=path))
    found = records.Records.evaluation(stub, 4)
    assert found["loss"] == 1.5
    assert math.isnan(found["spearman"])
    assert records.Records.evaluation(stub, 5) == {}


def with_costs(job):
    return dataclasses.replace(job, costs=ToyCosts())


def test_flops_and_tokens_are_rates_over_the_same_time(work, start):
    """A token takes 2 x 16^2 FLOPs, whatever the step time; a CPU has no known peak, so there is no MFU.

    Every second batch has half of the rows: the first three have 8 + 4 + 8 of 24, the next three 4 + 8 + 4.
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


def test_mfu_is_written_and_shown_if_the_peak_is_known(work, start, monkeypatch, capsys):
    monkeypatch.setattr(records, "peak_flops_per_second", lambda costs, mesh: 1e9)
    assert start("total_steps=4", change=with_costs) == 0
    assert all(row["mfu"] == pytest.approx(row["model_flops_per_second"] / 1e9) for row in rows_of(work))
    assert "% MFU" in capsys.readouterr().out


def test_the_summary_has_the_step_times_of_each_run(resumed):
    work = resumed / "work"
    for entry in runs_of(work):
        times = entry["step_seconds"]
        assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["max"]
    assert "device_memory_peak_bytes" not in runs_of(work)[0]
    assert all(0 <= row["data_wait_fraction"] <= 1 for row in rows_of(work))


# Memory


def test_peak_memory_is_printed_and_in_the_summary(work, start, monkeypatch, capsys):
    """There are no event files, because the config does not ask for them."""
    monkeypatch.setattr(records, "peak_bytes", lambda: 3 * 2**30)
    assert start("total_steps=2") == 0
    assert runs_of(work)[0]["device_memory_peak_bytes"] == 3 * 2**30
    assert "peak device memory: 3.00 GiB" in capsys.readouterr().out
    assert not (work / "tensorboard").exists()


# Profiles


def test_the_requested_steps_are_profiled(work, start, capsys):
    assert start("profile.first_step=4", "profile.num_steps=3", "total_steps=8") == 0
    assert traced_steps(work / "profile") == [[4, 5, 6]]
    assert f"profile of steps 4 to 6: {work / 'profile'}" in capsys.readouterr().out
    assert runs_of(work)[0]["seconds"]["profile"] > 0


def test_a_run_that_resumes_after_the_window_reports_it(work, start, capsys):
    start("profile.first_step=2", "total_steps=8")
    assert start("profile.first_step=2", "total_steps=9", more=["--extend"]) == 0
    assert len(traced_steps(work / "profile")) == 1
    assert "no profile: steps 2 to 3 were done by an earlier run, which got to step 8" in capsys.readouterr().out


def test_a_run_that_fails_in_the_window_keeps_its_profile(work, start):
    assert start("profile.first_step=4", "profile.num_steps=10", "data.bad_step=6") == 1
    assert traced_steps(work / "profile") == [[4, 5, 6, 7]]  # metrics are read one step late


def test_a_window_after_the_end_is_refused(start, capsys):
    assert start("profile.first_step=21", change=lambda job: pytest.fail("built")) == 2
    assert "at most total_steps=20" in capsys.readouterr().err


# Compiled programs


def test_the_compilation_cache_is_printed(resumed):
    line = f"compilation cache: {jax.config.jax_compilation_cache_dir} (JAX_COMPILATION_CACHE_DIR)\n"
    assert (resumed / "output").read_text().count(line) == 2


@pytest.fixture
def _cache_every_program():
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


@pytest.mark.usefixtures("_cache_every_program")
def test_programs_are_cached_in_the_given_directory(tmp_path, start, capsys):
    shared = jax.config.jax_compilation_cache_dir
    # A seed that no other test uses, because this process would not compile the same program again.
    assert start("total_steps=1", "seed=7", f"compilation_cache={tmp_path / 'programs'}") == 0
    assert f"compilation cache: {tmp_path / 'programs'}\n" in capsys.readouterr().out
    assert list((tmp_path / "programs").glob("jit_*train_step*-cache"))
    assert jax.config.jax_compilation_cache_dir == shared


def test_a_cache_that_others_may_write_to_is_refused(tmp_path, start, capsys):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    override = f"compilation_cache={tmp_path / 'open'}"
    assert start(override, change=lambda job: pytest.fail("built")) == 2
    error = capsys.readouterr().err
    assert "may be written by other users" in error
    assert "Traceback" not in error


# Several processes


@pytest.fixture
def _not_host_0(monkeypatch):
    monkeypatch.setattr(hosts, "is_first", lambda: False)


@pytest.mark.usefixtures("_not_host_0")
def test_other_hosts_train_and_check_the_loss_but_write_nothing(work, start, capsys):
    assert start("tensorboard=true", "total_steps=4") == 0
    assert not {"metrics.jsonl", "summary.json", "tensorboard"} & {path.name for path in work.iterdir()}
    assert start("total_steps=8", "data.bad_step=6", more=["--extend"]) == 1
    assert "step 6: loss is inf" in capsys.readouterr().err
