"""The ablation: its rows, its table, and that it resumes; the runs themselves are train.distill's."""

import subprocess
import sys

import pytest

from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.families.distilbert import DistilBertConfig
from flax_lite.models import flops
from tests.conftest import REPOSITORY
from tests.train.commands import environment, values_of
from train import ablate
from train.jobs import ablations

CONFIG = f"{REPOSITORY}/configs/distilbert_tiny.py"


@pytest.fixture
def values(teacher):
    """The options of the tiny recipe with a local teacher, and the cost of a step relative to one without it."""
    config = open_source(teacher).config
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 256, "vocab_size": config.vocab_size}
    cost = flops.distillation_cost(DistilBertConfig(**sizes, num_hidden_layers=2), config, 24, 4 / 24)
    return {**values_of(CONFIG), "teacher": str(teacher), "seed": 3}, cost


def test_ablation_has_the_rows_of_the_paper_and_those_without_a_teacher(values):
    options, cost = values
    rows = {row.directory: dict(row.changes) for row in ablations.rows(options)}
    random_init = {"student.init": "random", "student.layers": "()"}
    mlm_only = {"losses.soft_cross_entropy": "0", "losses.cosine": "0"}
    assert rows == {
        "whole": {},
        "without_cosine": {"losses.cosine": "0"},
        "without_mlm": {"losses.mlm": "0"},
        "without_soft_cross_entropy": {"losses.soft_cross_entropy": "0"},
        "random_start": random_init,
        "start_only": mlm_only,
        "no_teacher": mlm_only | random_init,
        "no_teacher_longer": mlm_only | random_init | {"total_steps": rows["no_teacher_longer"]["total_steps"]},
    }
    assert cost > 1
    steps = int(rows["no_teacher_longer"]["total_steps"])
    assert steps - 1 < cost * options["total_steps"] <= steps


def test_ablation_leaves_out_rows_that_would_repeat_another(values):
    options, _ = values
    single = options | {"losses.mlm": 0.0, "losses.cosine": 0.0, "student.init": "random"}
    assert [row.directory for row in ablations.rows(single)] == ["whole"]


def test_ablation_table_has_means_and_ranges():
    scores = {
        "a": [{"loss": 1.0, "mlm_loss": 1.0, "mlm_accuracy": 0.5}, {"loss": 1.0, "mlm_loss": 2.0, "mlm_accuracy": 0.7}],
        "b": [{"loss": 1.0, "mlm_loss": 4.0, "mlm_accuracy": 0.1}],
    }
    assert ablations.table(scores) == [
        "| | masked-LM loss, nats | accuracy |",
        "|---|---|---|",
        "| a | 1.500 (1.000 to 2.000) | 60.0% (50.0% to 70.0%) |",
        "| b | 4.000 | 10.0% |",
    ]


def test_ablation_plot_is_drawn(tmp_path):
    scores = {name: [{"loss": 1.0, "mlm_loss": 1.0, "soft_cross_entropy_loss": 0.1}] for name in ("a", "b")}
    ablations.draw(scores, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_ablation_stops_with_the_status_of_a_run(monkeypatch, tmp_path):
    """An interrupted run's status, 75, is that of the command, and later rows do not start."""
    seen = []

    def distilled(request, work, changes):
        seen.append(work.name)
        return 75 if len(seen) == 2 else 0

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(ablate, "distilled", distilled)
    monkeypatch.setattr(ablate, "final_scores", lambda work: {"loss": 1.0})
    argv = ["--seeds", "2", "--config", f"{CONFIG}:smoke", "--workdir", str(tmp_path / "work"), "--config.seed=5"]
    assert ablate.main(argv) == 75
    assert seen == ["whole-5", "whole-6"]
    seen[:] = ["before", "before"]
    assert ablate.main([*argv, "--rows", "no_teacher,whole"]) == 0
    assert seen[2:] == ["no_teacher-5", "no_teacher-6", "whole-5", "whole-6"]


def test_ablation_names_the_rows_there_are(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    argv = ["--rows", "whole,nothing", "--config", f"{CONFIG}:smoke", "--workdir", str(tmp_path / "work")]
    assert ablate.main(argv) == 2
    assert "there is no nothing; the rows are whole, without_cosine" in capsys.readouterr().err


def test_ablation_refuses_no_seeds(capsys):
    with pytest.raises(SystemExit) as stop:
        ablate.main(["--seeds", "0", "--config", CONFIG])
    assert stop.value.code == 2
    assert "--seeds" in capsys.readouterr().err


@pytest.mark.slow  # six runs of train.distill, twice
def test_ablation_runs_and_resumes(tmp_path):
    """Two losses, one seed; the second time every run is complete, and the table is the same."""
    argv = [sys.executable, "-m", "train.ablate", "--seeds", "1", "--config", f"{CONFIG}:smoke"]
    argv += ["--workdir", str(tmp_path / "work"), "--config.losses.cosine=0", "--config.total_steps=2"]
    tables = []
    for _ in range(2):
        done = subprocess.run(argv, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        tables.append((tmp_path / "work" / "ablations.md").read_text())
        assert tables[-1] in done.stdout
    assert tables[0] == tables[1]
    assert len(tables[0].splitlines()) == 2 + 6
    assert "complete" in done.stdout
    assert (tmp_path / "work" / "ablations.png").stat().st_size > 1000
