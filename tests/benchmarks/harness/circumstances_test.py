"""The circumstances that are kept with a measurement."""

from benchmarks.harness import circumstances as module
from benchmarks.harness.circumstances import MOMENT, circumstances, cores, describe, device_title, moment


def test_circumstances_distinguish_machines_and_not_runs():
    found = circumstances()
    assert found["commit"]
    assert found["versions"]["jax"]
    assert found["cpu"]
    assert found["cpu_count"] == len(cores()) >= 1
    assert not {"host", *MOMENT} & found.keys()
    assert found == circumstances()
    assert set(moment()) == set(MOMENT)


def test_an_unnamed_processor_is_described_by_its_architecture(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_CPU_INFO", tmp_path / "none")
    assert circumstances()["cpu"]
    (tmp_path / "none").write_text("processor : 0\nmodel name\t: A CPU @ 2 GHz: fast\n")
    assert circumstances()["cpu"] == "A CPU @ 2 GHz: fast"


def test_device_title_names_the_device_that_computes():
    assert device_title({"device": "cpu", "cpu": "A CPU", "cpu_count": 2}) == "2 cores of A CPU"
    assert device_title({"device": "NVIDIA H100", "cpu": "A CPU", "cpu_count": 2}) == "NVIDIA H100"
    assert device_title({"target": "v5e:2x4", "cpu_count": 2}) == "v5e:2x4"


def test_describe_is_one_line():
    assert describe({"a": 1, "versions": {"jax": "1"}, "flags": ""}) == "a 1, jax 1, flags none"
