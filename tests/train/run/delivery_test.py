"""The end of a run: errors after the model is written do not fail it."""

import dataclasses
import errno
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.train.run.runs import summary
from train.errors import RunError
from train.run import delivery
from train.run.delivery import optional


def raising(error):
    def fail(*arguments, **options):
        raise error

    return fail


UNPRINTABLE = UnicodeEncodeError("latin-1", "春", 0, 1, "ordinal not in range(256)")


@pytest.mark.parametrize(
    ("part", "error", "line"),
    [
        ("draw_plots", ValueError("no such backend\nat all"), "the plots skipped: ValueError: no such backend"),
        ("draw_plots", ImportError("no matplotlib"), "the plots skipped: ImportError: no matplotlib"),
        ("draw_plots", OSError(errno.ENOSPC, "no room"), "the plots skipped: OSError: [Errno 28] no room"),
        ("run_card", KeyError("metric"), "the model card skipped: KeyError: 'metric'"),
        ("finish", ZeroDivisionError(), "the final output skipped: ZeroDivisionError"),
        ("finish", UNPRINTABLE, "the final output skipped: UnicodeEncodeError"),
        ("finish", BrokenPipeError(errno.EPIPE, "gone"), "the final output skipped: BrokenPipeError"),
    ],
)
def test_a_run_whose_model_is_written_is_finished(tmp_path, start, monkeypatch, capsys, part, error, line):
    if part != "finish":
        monkeypatch.setattr(delivery, part, raising(error))

    changed = {"finish": {"finish": raising(error)}, "run_card": {"task": "fill-mask"}}.get(part, {})
    assert start("total_steps=1", "plot=true", change=lambda job: dataclasses.replace(job, **changed)) == 0
    assert line in capsys.readouterr().out
    found = summary(tmp_path / "work")
    assert (found["status"], found["step"]) == ("finished", 1)
    assert (tmp_path / "work" / "model" / "weights.npz").is_file()


@pytest.mark.parametrize(
    ("error", "status"), [(RunError("the hub says no"), 1), (OSError(errno.ENOSPC, "no room for predictions"), 1)]
)
def test_errors_that_a_retry_may_cure_fail_the_run(tmp_path, start, error, status):
    assert start("total_steps=1", change=lambda job: dataclasses.replace(job, finish=raising(error))) == status
    assert summary(tmp_path / "work")["status"] == "failed"
    assert start("total_steps=1") == 0


def test_optional_tolerates_a_closed_output():
    lines = []

    def closed(line):
        lines.append(line)
        raise OSError("closed")

    with optional("the plots", closed):
        raise ValueError
    assert len(lines) == 1


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "inline", "Qt5Agg"])
def test_plots_ignore_a_notebooks_backend(tmp_path, backend):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "split": "train", "loss": 1.0}\n')
    command = [sys.executable, "-m", "train.run.plots", str(tmp_path)]
    environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "loss.png").is_file()
