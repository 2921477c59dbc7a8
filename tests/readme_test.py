"""The README stays true: its code runs, its commands are accepted, what it names exists."""

import re
import shlex

import pytest

from tests.conftest import REPOSITORY
from train import cli, pretrain
from train.schema import PRETRAIN_LEAVES

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
JOBS = [
    line[line.index("python -m train.pretrain") :]
    for language, code in BLOCKS
    if language == "bash"
    for line in code.splitlines()
    if "python -m train.pretrain" in line
]


def test_readme_has_its_two_commands():
    lines = README.splitlines()
    assert "pip install -e . && python -m train.pretrain --config configs/albert_tiny.py" in lines
    assert "pip install -e '.[test]' && pytest" in lines


def test_readme_python_runs(tmp_path, monkeypatch):
    """The blocks run one after the other, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    assert len(PYTHON) >= 2
    namespace = {}
    for code in PYTHON:
        exec(compile(code, "README.md", "exec"), namespace)


@pytest.mark.parametrize("line", JOBS)
def test_readme_job_is_accepted(line, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    arguments = shlex.split(line, comments=True)[3:]
    assert cli.main("pretrain", PRETRAIN_LEAVES, pretrain.run, [*arguments, "--print_config"]) == 0
    assert '"total_steps"' in capsys.readouterr().out


def test_readme_files_exist():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert all((REPOSITORY / link).exists() for link in links), links
