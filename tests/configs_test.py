"""Every config: builds, fits its job's table of leaves, and runs its smoke variant to the end."""

import importlib.util

import pytest

from flax_lite.distillation_losses import LOSSES
from tests.conftest import REPOSITORY
from train import cli, leaves, schema, task_leaves
from train.config_files import load_config

CONFIGS = sorted(path.name for path in (REPOSITORY / "configs").glob("*.py") if not path.name.startswith("_"))


def variants(name):
    """The variants that a config file names, "" among them where it needs none."""
    spec = importlib.util.spec_from_file_location("config_of_test", REPOSITORY / "configs" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    named, options = getattr(module, "VARIANTS", ("",)), getattr(module, "OPTIONS", ())
    return (*named, *(f"{variant},{option}" for variant in named for option in options))


SPECS = [f"{name}:{variant}".rstrip(":") for name in CONFIGS for variant in variants(name)]
# Options change numbers alone.
SMOKES = [f"{spec}{',' if ':' in spec else ':'}smoke" for spec in SPECS if "," not in spec]
# What differs from another one in numbers alone. Of GLUE's tasks sst2, stsb and mnli have all that differs (a text, a
# number, a pair), and the built-in tasks are what the smoke variants of the benchmarks run on.
ALIKE = [
    *(f"glue.py:{task},smoke" for task in ("cola", "mrpc", "qqp", "qnli", "rte", "wnli", "ax")),
    *(f"{spec}{',' if ':' in spec else ':'}smoke" for spec in SPECS if spec.startswith("builtin.py")),
    "multiple_choice.py:race_v2,smoke",
    *(f"albert_{size}.py:smoke" for size in ("large", "xlarge")),
]
TABLES = leaves.JOB_LEAVES | task_leaves.FINETUNE_LEAVES


def test_configs_are_found():
    assert {"albert_tiny.py", "albert_base.py", "albert_xxlarge.py", "bert_base.py"} <= set(CONFIGS)
    assert {"distilbert_base.py", "distilbert_base.py:cased", "minilm_6.py:v1"} <= set(SPECS)


@pytest.mark.parametrize("spec", SPECS + SMOKES)
def test_config_has_the_leaves_of_its_job(spec):
    loaded = load_config(f"{REPOSITORY / 'configs'}/{spec}")
    schema.validate(TABLES[loaded.table], loaded.values, spec)


def test_every_loss_is_used_by_a_config():
    """A loss that no shipped config optimises has no place in the library."""
    loaded = map(load_config, (f"{REPOSITORY / 'configs'}/{spec}" for spec in SPECS))
    weights = [each.values["losses"] for each in loaded if each.job == "distill"]
    assert {name for each in weights for name, weight in each.items() if weight} == set(LOSSES)


@pytest.mark.parametrize("name", CONFIGS)
def test_config_says_what_it_is(name):
    text = (REPOSITORY / "configs" / name).read_text()
    docstring = text.split('"""')[1]
    for part in ("Paper:", f"--config configs/{name}", "Hardware:", "Expected:"):
        assert part in docstring


@pytest.mark.parametrize("spec", [spec for spec in SMOKES if spec not in ALIKE])
def test_config_smoke_runs(spec, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    argv = ["--config", f"configs/{spec}", "--workdir", str(tmp_path / "work"), "--config.plot=false"]
    argv.append("--config.mesh.data=1")  # meshes have tests of their own
    loaded = load_config(f"configs/{spec}")
    module = importlib.import_module(f"train.{loaded.job}")
    run = module.run_request if loaded.job == "finetune" else module.run
    assert cli.main(loaded.job, TABLES[loaded.table], run, argv) == 0
    assert (tmp_path / "work" / "model" / "model.safetensors").is_file()
    assert "held out, step" in capsys.readouterr().out
