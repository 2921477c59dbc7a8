"""The length of a fine-tuning, in steps or epochs, at first and when it is extended."""

import dataclasses
import json
import types

from ml_collections import config_dict

from tests.conftest import REPOSITORY
from tests.train.commands import Command, values_of
from tests.train.conftest import write_table
from train.jobs import finetuning
from train.options import cli, schema
from train.options.task_tables import FINETUNE_OPTIONS

CONFIG = str(REPOSITORY / "configs/classify.py")


def test_finetune_steps_on_the_command_line_override_epochs(tmp_path):
    request = cli.Request(
        job="finetune",
        options=FINETUNE_OPTIONS["columns"],
        config=config_dict.FrozenConfigDict(schema.nest(values_of(CONFIG))),
        spec="configs/classify.py",
        workdir=tmp_path,
    )
    prepared = types.SimpleNamespace(train=range(100))
    values = finetuning.resolved(request, prepared).values
    # Three epochs of 100 rows in batches of 32, a tenth of warm-up, six evaluations.
    steps = ("total_steps", "optimizer.warmup_steps", "eval_every_steps", "checkpoint_every_steps")
    assert [values[name] for name in steps] == [10, 1, 1, 1]
    values = schema.nest({**request.values, "total_steps": 60, "eval_every_steps": 7})
    overrides = {"total_steps": "60", "eval_every_steps": "7"}
    given = dataclasses.replace(request, config=config_dict.FrozenConfigDict(values), overrides=overrides)
    assert [finetuning.resolved(given, prepared).values[name] for name in steps] == [60, 6, 7, 1]


def test_finetune_by_epochs_can_be_extended(tmp_path, capsys):
    """In epochs or steps; the warm-up, a fraction of the run, stays that of the first run."""
    write_table(tmp_path / "data", 32)
    sizes = ("num_hidden_layers=1", "hidden_size=8", "num_attention_heads=2", "intermediate_size=8")
    more = (f"data.source=files:{tmp_path / 'data'}", "plot=false", "data.sequence_length=16", "warmup_fraction=0.5")
    more += ("evaluations=1", "batch_size=16", "data.max_train_examples=none", "epochs=1")
    command = Command("finetune", "configs/classify.py:smoke", (*more, *(f"model.{size}" for size in sizes)))
    work = tmp_path / "work"
    assert command.main(work) == 0
    assert command.main(work, "epochs=2") == 2
    assert "--extend" in capsys.readouterr().err
    for longer, total, again in (("epochs=2", 4, "epochs=2"), ("total_steps=6", 6, "epochs=3")):
        assert command.main(work, longer, flags=("--extend",)) == 0
        printed = capsys.readouterr().out
        assert f"-> {total}" in printed
        assert "the warm-up stays 1 steps" in printed
        assert command.main(work, again) == 0
        assert f"is complete: {total} steps" in capsys.readouterr().out
    kept = json.loads((work / "config.json").read_text())["config"]
    assert (kept["total_steps"], kept["optimizer"]["warmup_steps"]) == (6, 1)
    for file in (tmp_path / "data").iterdir():
        file.write_text(file.read_text().replace("good", "fine"))
    assert command.main(work, "epochs=3") == 2
