"""The command as a user types it, with the workers of flax_lite and Hugging Face."""

import dataclasses
import importlib
import json
import warnings
from pathlib import Path

import pytest

from benchmarks.harness.serving import answer
from benchmarks.harness.workers import WorkerError
from benchmarks.peers import __main__ as command
from benchmarks.peers import measuring, work
from benchmarks.peers.environments import SetupError
from benchmarks.peers.results import Row
from benchmarks.peers.rivals import MEMORY_KINDS
from benchmarks.peers.workers.program import Service
from tests.flax_lite import reference


@pytest.fixture
def peers(tmp_path, monkeypatch, repository):
    """Returns a function that runs the command in a temporary directory, and returns its status and its results."""
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        status = command.main([*argv, "--smoke", "--output", str(tmp_path / "results")])
        return status, json.loads((tmp_path / "results" / "peers.json").read_text())["groups"]

    return run


class WorkerHere:
    """The same worker in this process."""

    def __init__(self, module, environment, python, log):
        with warnings.catch_warnings(action="ignore"):  # rivals may warn
            self._service = Service(importlib.import_module(module)._build)

    def ask(self, do, limit_seconds, **arguments):
        with warnings.catch_warnings(action="ignore"):
            found = json.loads(json.dumps(answer(self._service.handlers, {"do": do, **arguments})))
        if "error" in found:
            raise WorkerError(found["error"])
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def check(groups, rivals):
    for group in groups:
        assert list(group["rows"]) == rivals
        for row in group["rows"].values():
            assert len(row["seconds"]) == 2, row["reason"]
            assert row["description"]["timed"]
    assert "unroll" in groups[0]["rows"]["ours"]["description"]["settings"]


@pytest.mark.reference
def test_forward_and_training_agree_with_hugging_face_flax_and_are_timed(peers, capsys, monkeypatch):
    reference.transformers()
    monkeypatch.setattr(measuring, "Worker", WorkerHere)
    one_layer = dataclasses.replace(work.SMOKE, config={**work.SMOKE.config, "num_hidden_layers": 1})
    monkeypatch.setattr(work, "SMOKE", one_layer)  # six training programs are compiled
    argv = ["--rivals", "hf_flax", "--here", "hf_flax", "--models", "albert", "--cases", "forward", "mlm"]
    status, groups = peers(*argv)
    assert status == 0
    check(groups, ["ours", "hf_flax"])
    assert groups[0]["rows"]["hf_flax"]["differences"].keys() == {"hidden"}
    assert groups[1]["rows"]["hf_flax"]["differences"].keys() == {"loss", "loss_after", "gradients"}
    assert "| ALBERT-base | Hugging Face Flax |" in capsys.readouterr().out
    assert peers(*argv)[1] == groups  # nothing is measured twice


@pytest.mark.slow  # each of 60 workers starts, compiles and runs; two groups are the default's
@pytest.mark.timeout(1800)
@pytest.mark.reference
def test_every_case_of_every_model_agrees_with_hugging_face_flax(peers):
    reference.transformers()
    status, groups = peers("--rivals", "hf_flax", "--here", "hf_flax", "--pairs", "20")
    assert status == 0
    assert len(groups) == 4 * 3 + 3 * 2 + 2
    check([group for group in groups if group["key"][0] not in MEMORY_KINDS], ["ours", "hf_flax"])
    check([group for group in groups if group["key"][0] in MEMORY_KINDS], ["ours", "hf_flax", "hf_flax_checkpoint"])
    for group in groups:
        if group["key"][0] in ("compile", *MEMORY_KINDS):
            assert all(row["facts"] for row in group["rows"].values())


def test_a_rival_without_an_environment_is_reported_and_its_row_stays_empty(peers, monkeypatch, capsys):

    def python_of(folder, wanted):
        raise SetupError("pip install ended with 1: ERROR: no such version")

    monkeypatch.setattr(command, "python_of", python_of)
    status, groups = peers("--rivals", "keras_hub", "--models", "distilbert", "--cases", "forward")
    assert status == 0
    assert groups[0]["rows"]["keras_hub"]["seconds"] == []
    assert len(groups[0]["rows"]["ours"]["seconds"]) == 2
    reason = "its environment cannot be made: pip install ended with 1: ERROR: no such version"
    assert f"| DistilBERT | KerasHub on JAX | no time: {reason} |" in capsys.readouterr().out


def test_earlier_rivals_take_turns_again_until_the_commit_changes(peers, monkeypatch):
    monkeypatch.setattr(command, "pythons", lambda given, rivals: dict.fromkeys(rivals, Path("python")))
    monkeypatch.setattr(command, "circumstances", lambda: {"commit": "a"})

    monkeypatch.setattr(command, "_group", lambda given, key, rivals, found, rounds: rivals)
    timed = lambda rivals: {name: Row(rival.title, seconds=[1.0]) for name, rival in rivals.items()}  # noqa: E731
    monkeypatch.setattr(command, "run_group", timed)
    argv = ["--models", "bert", "--cases", "forward", "--rivals"]
    assert set(peers(*argv, "hf_flax")[1][0]["rows"]) == {"ours", "hf_flax"}
    assert set(peers(*argv, "keras_hub")[1][0]["rows"]) == {"ours", "hf_flax", "keras_hub"}
    monkeypatch.setattr(command, "circumstances", lambda: {"commit": "b"})
    assert set(peers(*argv, "keras_hub")[1][0]["rows"]) == {"ours", "keras_hub"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rounds", "0"], "--rounds 0: expected at least 1"),
        (["--threads", "4096"], "--threads 4096: this process may use 1 to"),
        (["--pairs", "0"], "--pairs 0: expected a positive number, or 0 with --data"),
        (["--pairs", "0", "--data", ".", "--smoke"], "--pairs 0: expected a positive number, or 0 with --data"),
    ],
)
def test_mistakes_are_reported_in_a_line(argv, message, capsys):
    assert command.main(argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("stem", ["peers", "peers_slower_cores"])
def test_committed_results_are_reported_without_a_measurement(stem, tmp_path, repository):
    results = repository / "docs" / "results"
    assert command.main(["--report", str(results / f"{stem}.json"), "--output", str(tmp_path)]) == 0
    assert (tmp_path / f"{stem}.md").read_text() == (results / f"{stem}.md").read_text()
