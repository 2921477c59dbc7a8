"""What is kept of where and when something was measured."""

from benchmarks import circumstances as module
from benchmarks.circumstances import MOMENT, beginning, circumstances, cores, place, told


def test_circumstances_tell_machines_apart_and_runs_not():
    found = circumstances()
    assert found["commit"]
    assert found["versions"]["jax"]
    assert found["cpu"]
    assert found["cpu_count"] == len(cores()) >= 1
    assert not {"host", *MOMENT} & found.keys()
    assert found == circumstances()
    assert set(beginning()) == set(MOMENT)


def test_a_processor_without_a_name_is_told_by_its_architecture(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_CPU_INFO", tmp_path / "none")
    assert circumstances()["cpu"]
    (tmp_path / "none").write_text("processor : 0\nmodel name\t: A CPU @ 2 GHz: fast\n")
    assert circumstances()["cpu"] == "A CPU @ 2 GHz: fast"


def test_place_names_what_computes():
    assert place({"device": "cpu", "cpu": "A CPU", "cpu_count": 2}) == "2 cores of A CPU"
    assert place({"device": "NVIDIA H100", "cpu": "A CPU", "cpu_count": 2}) == "NVIDIA H100"
    assert place({"target": "v5e:2x4", "cpu_count": 2}) == "v5e:2x4"


def test_told_is_one_line():
    assert told({"a": 1, "versions": {"jax": "1"}, "flags": ""}) == "a 1, jax 1, flags none"
