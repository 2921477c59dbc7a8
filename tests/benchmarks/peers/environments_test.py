"""Environments are made once, again for other versions, and report why they cannot be made."""

import subprocess

import pytest

from benchmarks.peers import environments
from benchmarks.peers.environments import Environment, SetupError, python_of
from benchmarks.peers.rivals import CHOICES, RIVALS, chosen


@pytest.fixture
def commands(monkeypatch):
    """Replaces subprocesses; returns the list of commands, and the answers to the next ones (default: success)."""
    asked, answers = [], []

    def run(command, **_):
        asked.append([word for word in command if not word.startswith("--")])
        if "venv" in command:
            subprocess.os.makedirs(command[-1])
        return answers.pop(0) if answers else subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(environments.subprocess, "run", run)
    return asked, answers


def test_an_environment_is_made_once_and_again_for_other_versions(tmp_path, commands):
    asked, _ = commands
    wanted = Environment(requirements=("one==1",), alone=("two==2",))
    python = python_of(tmp_path / "env", wanted)
    assert python == tmp_path / "env" / "bin" / "python"
    assert [command[-1] for command in asked] == [str(tmp_path / "env"), "one==1", "two==2"]
    python_of(tmp_path / "env", wanted)
    assert len(asked) == 3
    python_of(tmp_path / "env", Environment(requirements=("one==2",)))
    assert [command[-1] for command in asked[3:]] == [str(tmp_path / "env"), "one==2"]


def test_a_failed_installation_is_reported_and_tried_again(tmp_path, commands):
    asked, answers = commands
    done = subprocess.CompletedProcess([], 0, "", "")
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: old\nERROR: No matching distribution for one==1\n")
    answers += [done, failed]
    wanted = Environment(requirements=("one==1",))
    with pytest.raises(SetupError, match="pip install ended with 1: ERROR: No matching distribution for one==1"):
        python_of(tmp_path / "env", wanted)
    python_of(tmp_path / "env", wanted)
    assert len(asked) == 4


def test_every_rival_has_an_environment_of_exact_versions():
    known = environments.environments()
    for name, rival in RIVALS.items():
        assert rival.environment is None or rival.environment in known, name
    for environment in known.values():
        assert all("==" in one or one == "regex" for one in (*environment.requirements, *environment.alone))


def test_settings_of_a_rival_are_chosen_with_it():
    assert list(chosen(["hf_torch"])) == ["ours", "hf_torch", "hf_torch_unpadded"]
    assert list(chosen([])) == ["ours"]
    assert list(chosen(CHOICES)) == list(RIVALS)
