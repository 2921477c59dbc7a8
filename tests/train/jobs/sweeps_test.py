"""Sweeps: each combination in its own directory, with seeds, resumed, and compared in one table."""

import json

import pytest

from tests.train.commands import Command
from train import finetune
from train.jobs import sweeps
from train.machine.files import write_json
from train.options import cli
from train.options.task_tables import FINETUNE_OPTIONS
from train.run import loop

RATES = "--sweep=config.optimizer.learning_rate=1e-5,5e-5"


@pytest.fixture
def runs(monkeypatch):
    """The requests that reached the loop, which writes a summary once."""
    requests = []

    def run(request, build, inputs):
        if (request.workdir / "summary.json").exists():
            return
        requests.append(request)
        request.workdir.mkdir(parents=True)
        accuracy = request.config.seed / 4 + 1e4 * request.config.optimizer.learning_rate
        write_json(request.workdir / "summary.json", {"evaluation": {"loss": 1.0, "accuracy": accuracy}})

    monkeypatch.setattr(loop, "run", run)
    return requests


def main(work, *arguments):
    config = Command("finetune", "configs/builtin.py:sentiment,smoke").arguments(work)
    return cli.main("finetune", FINETUNE_OPTIONS, finetune.run_request, [*config, *arguments], sweeps=True)


def test_every_combination_is_a_run_and_a_row_of_the_table(tmp_path, runs):
    work = tmp_path / "work"
    assert main(work, RATES, "--sweep=config.batch_size=8,16") == 0
    rows = [(each.config.optimizer.learning_rate, each.config.batch_size, each.workdir.name) for each in runs]
    assert rows == [
        (rate, size, f"optimizer.learning_rate={text},batch_size={size}")
        for rate, text in ((1e-5, "1e-5"), (5e-5, "5e-5"))
        for size in (8, 16)
    ]
    assert runs[0].overrides == {"optimizer.learning_rate": "1e-5", "batch_size": "8"}
    assert json.loads((work / "sweep.json").read_text())["metric"] == "accuracy"
    header, _, first, *_ = (work / "sweep.md").read_text().splitlines()
    assert header == "| run | accuracy | loss |"
    assert first == "| optimizer.learning_rate=1e-5,batch_size=8 | 0.3500 | 1.0000 |"


def test_a_sweep_resumes_grows_and_has_ranges_over_seeds(tmp_path, runs, capsys):
    work = tmp_path / "work"
    seeds = "--config.seeds=2"
    assert main(work, seeds, RATES) == 0
    assert len(runs) == 4
    assert main(work, seeds, RATES + ",2e-4") == 0
    assert [(each.config.optimizer.learning_rate, each.config.seed) for each in runs[4:]] == [(2e-4, 1), (2e-4, 2)]
    printed = capsys.readouterr().out
    assert printed.endswith((work / "sweep.md").read_text())
    assert "| optimizer.learning_rate=2e-4 | 2.3750 (2.2500 to 2.5000) | 1.0000 |" in printed
    (work / "other").mkdir()
    assert main(work, RATES) == 2
    assert "holds something else (lock" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep=optimizer.learning_rate=1"], "expected config.KEY=VALUE,VALUE,..., each KEY once"),
        (["--sweep=config.optimizer.learning_rate"], "expected config.KEY=VALUE,VALUE"),
        (["--sweep=config.optimizer.learning_rate=,"], "expected config.KEY=VALUE,VALUE"),
        ([RATES, RATES], "each KEY once"),
        (["--sweep=config.lr=1"], "unknown option --config.lr, which is optimizer.learning_rate here"),
        (["--sweep=config.batch_size=8,x"], "config.batch_size=x: expected a whole number"),
        (["--sweep=config.seed=1,2"], "give --config.seeds=N instead"),
        (["--config.batch_size=8", "--sweep=config.batch_size=8,16"], "--config.batch_size is given too"),
        (["--sweep=config.batch_size=8,8"], "--sweep has a value twice: batch_size=8, batch_size=8"),
    ],
)
def test_mistakes_in_a_sweep_are_explained_before_any_run(tmp_path, runs, capsys, arguments, message):
    assert main(tmp_path / "work", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not runs
    assert not (tmp_path / "work").exists()


def test_a_pretraining_has_no_sweep(capsys):
    from train.options.tables import PRETRAIN_OPTIONS

    assert cli.main("pretrain", PRETRAIN_OPTIONS, print, ["--config", "configs/albert_tiny.py", RATES]) == 2
    assert "unknown option --sweep" in capsys.readouterr().err


def test_undefined_metrics_are_shown_as_such():
    assert "nan" in sweeps.table({"a=1": {"pearson": {"mean": None, "min": None, "max": None}}})[-1]
