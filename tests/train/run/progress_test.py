"""Progress output on a terminal and on plain streams."""

import io
import re

import pytest

from train.run.progress import Progress, short_number, short_time


class Terminal(io.StringIO):
    def isatty(self):
        return True


ROW = {"loss": 1.5, "mlm_accuracy": 0.25, "grad_norm": 3.0, "tokens_per_second": 12345.0}


def show(stream, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    progress = Progress(100, ("loss", "mlm_accuracy"), stream)
    progress.log("device: 1 x cpu")
    with progress.working("compiling the step"):
        pass
    with progress.steps(10):
        for step in (11, 12):
            progress.step(step, ROW, write=step == 12)
        progress.evaluation(12, {"loss": 2.0})
    return stream.getvalue()


def test_plain_streams_get_one_line_per_written_row(monkeypatch):
    lines = show(io.StringIO(), monkeypatch).splitlines()
    assert lines[0] == "device: 1 x cpu"
    assert re.fullmatch(r"compiling the step: \d+\.\d s", lines[2])
    assert re.fullmatch(r"step 12/100  loss 1\.5  mlm_accuracy 0\.25  12\.3k tokens/s  \d+:\d\d left", lines[3])
    assert lines[4] == "step 12/100  held-out: loss 2"
    assert len(lines) == 5


def test_terminals_get_a_bar(monkeypatch):
    shown = show(Terminal(), monkeypatch)
    assert "━" in shown
    assert "12/100" in shown
    assert "loss 1.5  mlm 25.0%  12.3k tokens/s" in shown
    assert re.search(r"compiling the step: \d+\.\d s", shown)
    assert "step 12/100  held-out: loss 2" in shown


def test_the_mean_loss_is_shown_instead_of_that_of_a_step(monkeypatch):
    monkeypatch.setitem(ROW, "loss_mean", 2.5)
    assert "step 12/100  loss_mean 2.5  mlm_accuracy" in show(io.StringIO(), monkeypatch)
    assert "loss 2.5  mlm 25.0%" in show(Terminal(), monkeypatch)


def test_mfu_is_shown_if_known(monkeypatch):
    monkeypatch.setitem(ROW, "mfu", 0.3125)
    assert "12.3k tokens/s  31.2% MFU  " in show(io.StringIO(), monkeypatch)


def test_the_last_rate_is_shown_between_rows_that_have_one(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    progress = Progress(100, ("loss",), stream)
    with progress.steps(0):
        progress.step(1, ROW, write=True)
        progress._refreshed = 0.0
        progress.step(2, {"loss": 1.25}, write=False)
    assert "loss 1.25  12.3k tokens/s" in stream.getvalue()


@pytest.mark.parametrize(("number", "text"), [(3.14159, "3.14"), (1234.5, "1.23k"), (2.5e6, "2.5M"), (7e9, "7G")])
def test_short_number(number, text):
    assert short_number(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65, "1:05"), (3725, "1:02:05")])
def test_short_time(seconds, text):
    assert short_time(seconds) == text
