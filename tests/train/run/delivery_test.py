"""The end of a run: nothing that comes after its model can fail it."""

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


NOT_SHOWN = UnicodeEncodeError("latin-1", "春", 0, 1, "ordinal not in range(256)")


@pytest.mark.parametrize(
    ("part", "error", "said"),
    [
        ("draw_plots", ValueError("no such backend\nat all"), "the plots left out: ValueError: no such backend"),
        ("draw_plots", ImportError("no matplotlib"), "the plots left out: ImportError: no matplotlib"),
        ("draw_plots", OSError(errno.ENOSPC, "no room"), "the plots left out: OSError: [Errno 28] no room"),
        ("run_card", KeyError("metric"), "the model's card left out: KeyError: 'metric'"),
        ("finish", ZeroDivisionError(), "the end of what is printed left out: ZeroDivisionError"),
        ("finish", NOT_SHOWN, "the end of what is printed left out: UnicodeEncodeError"),
        ("finish", BrokenPipeError(errno.EPIPE, "gone"), "the end of what is printed left out: BrokenPipeError"),
    ],
)
def test_a_run_whose_model_is_written_is_finished(tmp_path, start, monkeypatch, capsys, part, error, said):
    if part != "finish":
        monkeypatch.setattr(delivery, part, raising(error))

    changed = {"finish": {"finish": raising(error)}, "run_card": {"task": "fill-mask"}}.get(part, {})
    assert start("total_steps=1", "plot=true", change=lambda job: dataclasses.replace(job, **changed)) == 0
    assert said in capsys.readouterr().out
    told = summary(tmp_path / "work")
    assert (told["status"], told["step"]) == ("finished", 1)
    assert (tmp_path / "work" / "model" / "weights.npz").is_file()


@pytest.mark.parametrize(
    ("error", "status"), [(RunError("the hub says no"), 1), (OSError(errno.ENOSPC, "no room for predictions"), 1)]
)
def test_what_was_asked_for_and_may_be_had_later_is_not_left_out(tmp_path, start, error, status):
    assert start("total_steps=1", change=lambda job: dataclasses.replace(job, finish=raising(error))) == status
    assert summary(tmp_path / "work")["status"] == "failed"
    assert start("total_steps=1") == 0


def test_optional_does_not_need_an_output():
    said = []

    def closed(line):
        said.append(line)
        raise OSError("closed")

    with optional("the plots", closed):
        raise ValueError
    assert len(said) == 1


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "inline", "Qt5Agg"])
def test_plots_do_not_depend_on_the_backend_of_a_notebook(tmp_path, backend):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "split": "train", "loss": 1.0}\n')
    words = [sys.executable, "-m", "train.run.plots", str(tmp_path)]
    environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "loss.png").is_file()
