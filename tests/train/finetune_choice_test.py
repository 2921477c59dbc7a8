"""Choices of a fine-tuning: held-out and test files of any name, the metric that counts, weights, invalid rows."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from train import finetune
from train.errors import UserError
from train.options.config_files import load_config
from train.options.task_tables import FINETUNE_OPTIONS, TABLE_OF_TASK
from train.tasks.opening import chosen_weights

FEW = ("total_steps=4", "evaluations=2", "execution.unroll=1")


@pytest.fixture
def named(tmp_path, classify):
    """The command on files whose names do not say what they are."""
    source = classify.overrides[0].removeprefix("data.source=files:")
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, new in (("train", "a"), ("dev", "b"), ("dev", "c")):
        (folder / f"{new}.tsv").write_text(Path(f"{source}/{name}.tsv").read_text())
    with (folder / "a.tsv").open("a") as file:
        file.write("no label\t\none\ttoo\tmany\n")
    options = ("data.eval_source=files:", "data.test_source=files:")
    files = [f"{option}{folder / name}" for option, name in zip(options, ("b.tsv", "c.tsv"), strict=True)]
    return classify._replace(overrides=(*classify.overrides, f"data.source=files:{folder / 'a.tsv'}", *files))


def test_finetune_uses_the_files_metric_and_rows_that_are_chosen(tmp_path, named, capsys):
    work = tmp_path / "work"
    assert named.main(work, *FEW) == 2
    error = capsys.readouterr().err
    assert "2 errors:" in error
    assert "data.skip_invalid_rows=true drops such rows" in error
    chosen = ("data.skip_invalid_rows=true", "best_metric=loss", "class_weights=(('bad',3),)")
    assert named.main(work, *FEW, *chosen) == 0
    printed = capsys.readouterr().out
    assert re.search(r"2 of \d+ rows cannot be read: skipped\.", printed)
    assert "test: predicted, not scored (score_test=true" in printed
    summary = json.loads((work / "summary.json").read_text())
    assert "test" not in summary
    rows = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["loss"] for row in rows if row["split"] == "eval"}
    assert summary["evaluation"]["loss"] == min(losses.values())
    assert len((work / "predictions" / "test.jsonl").read_text().splitlines()) == 40


def test_finetune_scores_the_test_set_when_asked(tmp_path, named):
    assert named.main(tmp_path / "work", *FEW, "data.skip_invalid_rows=true", "score_test=true") == 0
    summary = json.loads((tmp_path / "work" / "summary.json").read_text())
    assert summary["test"]["test"]["accuracy"] == summary["evaluation"]["accuracy"]  # the same rows here


def test_weights_are_in_the_order_of_the_labels():
    assert chosen_weights([("b", 2), (3, 0.5)], ("a", "b", "3")) == (1.0, 2.0, 0.5)


FINETUNING = (
    *(f"builtin.py:{task}" for task in ("entailment", "sentiment", "similarity", "spans", "tags", "choices")),
    *("glue.py:cola", "glue.py:ax", "xnli.py", "ner.py", "squad.py:v1", "squad.py:v2"),
    *("multiple_choice.py:race", "multiple_choice.py:swag", "classify.py", "sentence.py"),
)


@pytest.mark.parametrize("spec", FINETUNING)
def test_the_table_of_a_config_follows_from_its_task(spec):
    loaded = load_config(f"{REPOSITORY}/configs/{spec}")
    assert TABLE_OF_TASK.get(loaded.values["task"], "texts") == loaded.table
    assert loaded.table in FINETUNE_OPTIONS


def rows(count, first=0):
    return [
        {"text": f"the {('good', 'bad')[number % 2]} {number}", "label": ("good", "bad")[number % 2]}
        for number in range(first, first + count)
    ]


@pytest.fixture
def config():
    return load_config(f"{REPOSITORY}/configs/classify.py:smoke").values | {
        "total_steps": 2,
        "evaluations": 1,
        "log_every_steps": 1,
        "plot": False,
        "mesh": {"data": 1, "fsdp": 1},
    }


def test_finetune_takes_python_objects_and_callbacks(tmp_path, config):
    class Frame:
        """As a pandas DataFrame."""

        iloc = None

        def to_dict(self, orient):
            assert orient == "records"
            return rows(16, 32)

    seen = []
    arguments = {"train": rows(32), "evaluation": Frame(), "test": rows(8, 60), "callbacks": [seen.append]}
    summary = finetune.run(config, tmp_path / "work", **arguments)
    assert summary["status"] == "finished"
    assert [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()] == seen
    assert [(row["step"], row["split"]) for row in seen] == [(1, "train"), (2, "train"), (2, "eval")]
    assert len((tmp_path / "work" / "predictions" / "dev.jsonl").read_text().splitlines()) == 16
    seen.clear()
    finetune.run(config, tmp_path / "work", **arguments)  # complete
    assert not seen
    with pytest.raises(UserError, match="data"):
        finetune.run(config, tmp_path / "work", **{**arguments, "train": rows(34)})


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"train": {"text": ["a"]}}, "train is a dict without rows, expected a list of dictionaries"),
        ({}, {"train": []}, "train is a list without rows"),
        ({}, {"train": ["a text"]}, "train: row 0 is 'a text', expected a dictionary of columns"),
        ({}, {"train": [{"txt": "a", "label": 1}]}, "has no column 'text', nearest is txt"),
        ({}, {"evaluation": rows(2)}, "give train= too"),
        ({}, {"table": "column"}, "table='column': there are texts, columns"),
        ({"task": "cola", "class_weights": "equal"}, {"train": rows(2)}, "not for cola"),
    ],
)
def test_finetune_explains_mistakes_in_a_call(tmp_path, config, changes, arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        finetune.run(config | changes, tmp_path / "work", **arguments)
