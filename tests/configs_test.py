"""Every config: builds, fits its job's table of leaves, and runs its smoke variant to the end."""

import importlib

import pytest

from tests.conftest import REPOSITORY
from train import cli, leaves, schema
from train.config_files import load_config

CONFIGS = sorted(path.name for path in (REPOSITORY / "configs").glob("*.py") if not path.name.startswith("_"))


def test_configs_are_found():
    assert {"albert_tiny.py", "albert_base.py", "albert_xxlarge.py", "bert_base.py"} <= set(CONFIGS)


@pytest.mark.parametrize("variant", ["", ":smoke"])
@pytest.mark.parametrize("name", CONFIGS)
def test_config_has_the_leaves_of_its_job(name, variant):
    loaded = load_config(f"{REPOSITORY / 'configs' / name}{variant}")
    schema.validate(leaves.JOB_LEAVES[loaded.job], loaded.values, name)


@pytest.mark.parametrize("name", CONFIGS)
def test_config_says_what_it_is(name):
    text = (REPOSITORY / "configs" / name).read_text()
    docstring = text.split('"""')[1]
    for part in ("Paper:", f"--config configs/{name}", "Hardware:", "Expected:"):
        assert part in docstring


@pytest.mark.parametrize("name", CONFIGS)
def test_config_smoke_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    argv = ["--config", f"configs/{name}:smoke", "--workdir", str(tmp_path / "work"), "--config.plot=false"]
    job = load_config(f"configs/{name}").job
    run = importlib.import_module(f"train.{job}").run
    assert cli.main(job, leaves.JOB_LEAVES[job], run, argv) == 0
    assert (tmp_path / "work" / "model" / "model.safetensors").is_file()
    assert "held out, step" in capsys.readouterr().out
