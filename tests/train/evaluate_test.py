"""A file of predictions is scored on the set that it is of."""

import json

import pytest

from tests.conftest import REPOSITORY
from tests.train.tasks.readers.glue_files import write_mnli
from train import evaluate
from train.options import cli
from train.options.config_files import load_config
from train.tasks.examples import Prediction
from train.tasks.readers.glue import read_glue
from train.tasks.readers.ner import read_ner
from train.tasks.scores.scoring import Scorer


def scores(capsys, config, source, path):
    config = str(REPOSITORY / "configs" / config)
    argv = ["--config", config, f"--config.data.source={source}", f"--config.predictions={path}"]
    table = load_config(config).table
    assert cli.main("evaluate", {table: evaluate.EVALUATE_LEAVES[table]}, evaluate.run, argv) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("name", "accuracy"), [("matched", 0.5), ("mismatched", 1.0)])
def test_of_two_held_out_sets_the_one_in_its_name(tmp_path, capsys, name, accuracy):
    write_mnli(tmp_path / "MNLI")
    source = f"files:{tmp_path}"
    data = read_glue("mnli", source)
    examples = data.evaluation[name]
    path = Scorer("mnli", data).write(name, examples, [Prediction(id=e.id, value=1) for e in examples], tmp_path)
    found = scores(capsys, "glue.py:mnli", source, path)
    assert (found["set"], found["accuracy"]) == (name, accuracy)


def test_a_test_set_whose_labels_are_public(tmp_path, capsys):
    for name, tag in {"train": "B-X", "dev": "B-X", "test": "O"}.items():
        (tmp_path / f"{name}.conll").write_text(f"a {tag}\nb B-X\n\n")
    source = f"files:{tmp_path}"
    data = read_ner(source)
    wrong = [Prediction(id="0", value=(1, 1))]
    path = Scorer("ner", data).write("test", data.test["test"], wrong, tmp_path / "predictions")
    found = scores(capsys, "ner.py", source, path)
    assert (found["set"], found["entity_precision"], found["entity_recall"]) == ("test", 0.5, 1.0)
    mine = tmp_path / "mine.conll"
    mine.write_text(path.read_text())
    assert scores(capsys, "ner.py", source, mine)["set"] == "dev"
