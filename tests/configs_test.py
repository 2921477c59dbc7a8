"""Every config: builds, fits its job's table of options, says what it is, and has a smoke variant that runs."""

import importlib.util
import re

import pytest

from flax_lite.distillation.losses import LOSSES
from tests.conftest import REPOSITORY
from tests.train.commands import TABLES, Command, values_of
from train.errors import UserError
from train.options import schema
from train.options.config_files import load_config

CONFIGS = sorted(path.name for path in (REPOSITORY / "configs").glob("*.py") if not path.name.startswith("_"))


def variants(name):
    """Returns the variants of a config file, with "" if it needs none."""
    spec = importlib.util.spec_from_file_location("config_of_test", REPOSITORY / "configs" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    named, recipes = getattr(module, "VARIANTS", ("",)), getattr(module, "RECIPES", ())
    return (*named, *(f"{variant},{recipe}" for variant in named for recipe in recipes))


SPECS = [f"{name}:{variant}".rstrip(":") for name in CONFIGS for variant in variants(name)]
# Recipes change only numbers.
SMOKES = [f"{spec}{',' if ':' in spec else ':'}smoke" for spec in SPECS if "," not in spec]
# Those that differ from another one only in numbers. GLUE's sst2, stsb and mnli cover its tasks (a text, a number, a
# pair), and the smoke variants of the benchmarks run on the built-in tasks.
ALIKE = [
    *(f"glue.py:{task},smoke" for task in ("cola", "mrpc", "qqp", "qnli", "rte", "wnli", "ax")),
    *(f"{spec}{',' if ':' in spec else ':'}smoke" for spec in SPECS if spec.startswith("builtin.py")),
    "multiple_choice.py:race_v2,smoke",
    *(f"albert_{size}.py:smoke" for size in ("large", "xlarge")),
]
# One for each code path that no test of its job runs (tests/train/*_test.py): next sentence, a student that shares its
# layer, relations, projections; predicted numbers, choices, tags and spans; two languages.
RUN = [
    "bert_base.py:smoke",
    "distilalbert_tiny.py:smoke",
    "minilm_6.py:v2,smoke",
    "tinybert_4.py:smoke",
    "glue.py:stsb,smoke",
    "multiple_choice.py:swag,smoke",
    "ner.py:smoke",
    "squad.py:v1,smoke",
    "xnli.py:smoke",
]
_SHORT = ("total_steps=2", "log_every_steps=1", "execution.unroll=1")
_FEW = {"finetune": ("evaluations=1", "data.max_train_examples=32")}
_ONE_EVALUATION = ("eval_every_steps=2", "checkpoint_every_steps=2", "data.max_eval_rows=16")


def test_configs_are_found():
    assert {"albert_tiny.py", "albert_base.py", "albert_xxlarge.py", "bert_base.py"} <= set(CONFIGS)
    assert {"distilbert_base.py", "distilbert_base.py:cased", "minilm_6.py:v1"} <= set(SPECS)


@pytest.mark.parametrize("spec", SPECS + SMOKES)
def test_config_fits_its_job(spec):
    values_of(f"{REPOSITORY}/configs/{spec}")


@pytest.mark.parametrize("spec", SPECS)
def test_config_sets_only_what_differs_from_the_defaults(spec):
    loaded = load_config(f"{REPOSITORY / 'configs'}/{spec}")
    defaults = {option.path: option.default for option in TABLES[loaded.table]}
    given = schema.flatten(loaded.values)
    unset = [path for path, value in given.items() if value is None]  # recipes in steps unset the epochs
    assert [path for path, value in given.items() if value == defaults[path] and path not in unset] == []


def test_a_config_can_be_changed_from_python():
    """As `train.finetune.run` takes it."""
    from configs import glue

    config = glue.get_config("sst2")
    config.data.source = "files:glue_data"
    config.mesh.data = 1
    config.epochs = None
    config.total_steps = 100
    values = schema.validate(TABLES[glue.TASK_OPTIONS], config.to_dict(), "this config")
    assert (values["data.source"], values["mesh.data"], values["total_steps"]) == ("files:glue_data", 1, 100)
    config.data.sorce = "builtin"
    with pytest.raises(UserError, match=r"data\.sorce is not an option, nearest is data\.source"):
        schema.validate(TABLES[glue.TASK_OPTIONS], config.to_dict(), "this config")


def test_every_loss_is_used_by_a_config():
    """The library has no loss that no config optimizes."""
    loaded = map(load_config, (f"{REPOSITORY / 'configs'}/{spec}" for spec in SPECS))
    weights = [each.values["losses"] for each in loaded if each.job == "distill"]
    assert {name for each in weights for name, weight in each.items() if weight} == set(LOSSES)


@pytest.mark.parametrize("name", CONFIGS)
def test_config_names_paper_command_hardware_and_result(name):
    docstring = (REPOSITORY / "configs" / name).read_text().split('"""')[1]
    headings = re.findall(r"^(\w+): (.+)", docstring.partition("\n\n")[2], re.MULTILINE)
    assert [heading for heading, _ in headings] == ["Paper", "Command", "Hardware", "Result"]
    command, result = headings[1][1], docstring.split("\nResult: ")[1]
    assert command.startswith("python -m train.")
    assert f"--config configs/{name}" in docstring
    assert result.startswith("not run") or re.search(r"\d", result)


_DISTILBERT = {"optimizer.decay_from": "peak", "optimizer.bias_correction": None}
_CODE = {"optimizer.decay_from": None, "optimizer.bias_correction": False}
_RECIPES = {
    # huggingface/transformers, research_projects/distillation, distiller.py and train.py.
    "distilbert_mlm.py": {**_DISTILBERT, "optimizer.clip_norm": 5.0, "optimizer.weight_decay": 0.0},
    **dict.fromkeys(
        (
            "distilbert_base.py",
            "distilbert_base.py:cased",
            "distilbert_base_multilingual.py",
            "distilalbert.py",
            "distilbert_tiny.py",
            "distilbert_tiny.py:logits",
            "distilalbert_tiny.py",
            "minilm_6.py:v1",
        ),
        _DISTILBERT,
    ),
    # google-research/albert: optimization.py, and Table 14.
    **{spec: {**_CODE, "optimizer.weight_decay": 0.01} for spec in SPECS if spec.endswith(",albert")},
    "glue.py:rte,albert": {**_CODE, "optimizer.learning_rate": 3e-5, "batch_size": 32, "total_steps": 800},
    "glue.py:mrpc,albert": {**_CODE, "optimizer.learning_rate": 2e-5, "optimizer.warmup_steps": 200},
    "squad.py:v1,albert": {**_CODE, "data.sequence_length": 384, "batch_size": 48, "total_steps": 3649},
    "squad.py:v2,albert": {**_CODE, "data.sequence_length": 512, "answers.head": "beam", "total_steps": 8144},
    "multiple_choice.py:race": {**_CODE, "optimizer.learning_rate": 2e-5, "model.hidden_dropout_prob": 0.1},
    "multiple_choice.py:race_v2": {**_CODE, "optimizer.learning_rate": 1e-5, "model.hidden_dropout_prob": 0.0},
    # google-research/bert, optimization.py; for pretraining only.
    "bert_base.py": _CODE,
    "glue.py:rte": {"optimizer.decay_from": None, "optimizer.bias_correction": None, "optimizer.weight_decay": 0.01},
    "squad.py:v1": {"optimizer.decay_from": None, "optimizer.bias_correction": None, "optimizer.weight_decay": 0.01},
    "albert_base.py": {"optimizer.decay_from": None, "optimizer.bias_correction": None, "optimizer.clip_norm": 1.0},
    # The paper removed dropout after the runs of 125k steps.
    "albert_xxlarge.py": {"model.hidden_dropout_prob": 0.1, "model.attention_probs_dropout_prob": 0.1},
    # huawei-noah/Pretrained-Language-Model, TinyBERT: general_distill.py, pregenerate_training_data.py, BertAdam.
    "tinybert_4.py": {
        "optimizer.decay_from": "peak",
        "optimizer.bias_correction": False,
        "optimizer.learning_rate": 5e-5,
        "optimizer.clip_norm": 1.0,
        "optimizer.weight_decay": 0.01,
        "batch_size": 256,
        "data.masked_fraction": 0.0,
    },
    "minilm_6.py:v2": {**_DISTILBERT, "optimizer.clip_norm": 1.0, "optimizer.weight_decay": 0.01},
    "sentence_student.py": {"optimizer.decay_from": None},
}


@pytest.mark.parametrize("spec", _RECIPES)
def test_config_has_the_recipe_of_its_source(spec):
    values = values_of(f"{REPOSITORY}/configs/{spec}")
    assert {option: values[option] for option in _RECIPES[spec]} == _RECIPES[spec]


def smoke(spec, workdir, overrides=()):
    job = load_config(f"{REPOSITORY / 'configs' / spec}").job
    return Command(job, f"configs/{spec}", ("plot=false", *overrides)).main(workdir)


@pytest.mark.parametrize("spec", RUN)
def test_config_smoke_runs(spec, tmp_path, capsys):
    job = load_config(f"{REPOSITORY / 'configs' / spec}").job
    assert smoke(spec, tmp_path / "work", (*_SHORT, *_FEW.get(job, _ONE_EVALUATION))) == 0
    assert (tmp_path / "work" / "model" / "model.safetensors").is_file()
    assert "held out, step 2" in capsys.readouterr().out


@pytest.mark.slow  # twenty-six runs; the quick ones above and the tests of the jobs cover their code paths
@pytest.mark.parametrize("spec", [spec for spec in SMOKES if spec not in ALIKE])
def test_every_config_smoke_runs(spec, tmp_path, capsys):
    assert smoke(spec, tmp_path / "work") == 0
    assert (tmp_path / "work" / "model" / "model.safetensors").is_file()
    assert "held out, step" in capsys.readouterr().out
