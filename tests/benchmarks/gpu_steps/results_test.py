"""The results file, and which rows may be compared."""

import pytest

from benchmarks.gpu_steps.cases import Case, Setting
from benchmarks.gpu_steps.results import Results, Row, disagreements, read, write
from tests.benchmarks.gpu_steps.cases_test import measurement
from train.errors import UserError

DEVICE = {"circumstances": {"device": "a GPU", "commit": "abc"}, "peak": 1e15, "floor": 5e14}
CASE = Case(model="albert_base", length=128, rows=256)
FUSED = Case(model="albert_base", length=128, rows=256, setting=Setting(attention="cudnn"))
TORCH = Case(model="albert_base", length=128, rows=256, setting=None)


def results(**outcomes):
    cases = {"plain": CASE, "fused": FUSED, "torch": TORCH}
    rows = [Row(case=cases[name], started="now", outcome=outcome) for name, outcome in outcomes.items()]
    return Results(**DEVICE, rows=rows)


def test_results_are_read_as_they_were_written(tmp_path):
    known = results(plain=measurement(), fused="out of memory", torch=measurement(0.1))
    write(tmp_path / "one.json", known)
    assert read(tmp_path / "one.json", {**DEVICE, "floor": 1.0}) == known
    assert known.speeds == {CASE: 65536.0, FUSED: None, TORCH: 327680.0}


def test_rows_of_other_circumstances_are_refused(tmp_path):
    write(tmp_path / "one.json", results(plain=measurement()))
    other = {**DEVICE, "circumstances": {"device": "a GPU", "commit": "another"}}
    with pytest.raises(UserError, match=r"of other circumstances \(commit\): give another --output"):
        read(tmp_path / "one.json", other)


def test_a_file_of_another_form_is_refused(tmp_path):
    (tmp_path / "one.json").write_text('{"circumstances": {}, "rows": [{"other": 1}], "peak": 1, "floor": 1}')
    with pytest.raises(UserError, match="was not written by this version of the command"):
        read(tmp_path / "one.json", DEVICE)


def test_settings_are_compared_with_the_first_and_pytorch_is_not():
    close = measurement(loss=10.03, grad_norm=1.04)
    assert disagreements(results(plain=measurement(), fused=close, torch=measurement(loss=3.0))) == []
    (line,) = disagreements(results(plain=measurement(), fused=measurement(loss=10.05)))
    assert "cudnn: loss 10.05000, another setting 10.00000, tolerance 0.4%" in line
    (line,) = disagreements(results(plain=measurement(), fused=measurement(grad_norm=1.06)))
    assert "grad_norm" in line
