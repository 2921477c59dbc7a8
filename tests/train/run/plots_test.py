"""The files and curves of the plots. Their appearance was checked by eye."""

import json
import runpy
import struct
import sys

import pytest
from matplotlib.figure import Figure

from train.run.plots import draw_plots


def write(folder, rows):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def pretraining_rows(count):
    for step in range(1, count + 1):
        parts = {"mlm_loss": 5 / step, "sop_loss": 0.7, "mlm_accuracy": 0.1, "sop_accuracy": 0.5, "grad_norm": 1.0}
        yield {"step": step, "split": "train", "loss": 5 / step + 0.7, **parts}
        if step % 10 == 0:
            yield {"step": step, "split": "eval", "loss": 5 / step + 0.8, **parts}


@pytest.fixture
def drawn(monkeypatch):
    """The drawn figures by file name."""
    figures = {}
    save = Figure.savefig

    def keep(self, target, **kwargs):
        figures[target.name] = self
        save(self, target, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


@pytest.mark.parametrize("count", [20, 200])  # without and with smoothing
def test_losses_and_accuracies_are_drawn_with_their_references(tmp_path, drawn, count):
    write(tmp_path, pretraining_rows(count))
    references = {"loss": {"unigram entropy": 5.0}, "accuracy": {"bag of words": 0.6}}
    paths = draw_plots(tmp_path, references, "a run")
    assert [path.name for path in paths] == ["loss.png", "accuracy.png"]
    for path in paths:
        header = path.read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", header[16:24]) == (1200, 675)
    labels = [text.get_text() for text in drawn["loss.png"].axes[0].get_legend().get_texts()]
    assert labels == [
        "loss, training",
        f"loss, held-out ({5 / count + 0.8:.3g})",
        "mlm_loss, training",
        f"mlm_loss, held-out ({5 / count:.3g})",
        "sop_loss, training",
        "sop_loss, held-out (0.7)",
    ]
    assert [text.get_text() for text in drawn["loss.png"].axes[0].texts] == ["unigram entropy\n5"]


def test_a_fine_tuning_has_the_mean_loss_and_the_scores_of_its_task(tmp_path, drawn):
    rows = [{"step": 5, "split": "train", "loss": 9.0, "loss_mean": 2.0, "task_loss": 9.0, "task_accuracy": 0.5}]
    scores = {"entity_f1": 0.75, "entity_recall": 0.5, "spearman": None, "best_f1_threshold": 0.5, "rows": 40}
    write(tmp_path, [*rows, {"step": 5, "split": "eval", "loss": 1.5, "accuracy": 0.25, **scores}])
    paths = draw_plots(tmp_path, {"scores": {"guessing": 0.25}})
    assert [path.name for path in paths] == ["loss.png", "accuracy.png", "scores.png"]
    curves = {
        name: {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines if line.get_label()[0] != "_"}
        for name, figure in drawn.items()
    }
    assert curves["loss.png"] == {"loss, training": [2.0], "loss, held-out (1.5)": [1.5]}
    assert curves["accuracy.png"] == {"task_accuracy, training": [0.5], "accuracy, held-out (0.25)": [0.25]}
    assert list(curves["scores.png"]) == ["entity_f1, held-out (0.75)", "entity_recall, held-out (0.5)"]


def test_smoothing_keeps_a_constant(tmp_path, drawn):
    """The running mean of a constant is the constant, including at both ends."""
    write(tmp_path, [{"step": step, "split": "train", "loss": 2.0} for step in range(1, 301)])
    draw_plots(tmp_path)
    for line in drawn["loss.png"].axes[0].lines:
        assert set(line.get_ydata()) == {2.0}


def test_rows_with_null_are_skipped(tmp_path, drawn):
    write(tmp_path, [{"step": 1, "split": "train", "loss": 1.0}, {"step": 2, "split": "train", "loss": None}])
    assert [path.name for path in draw_plots(tmp_path)] == ["loss.png"]
    assert list(drawn["loss.png"].axes[0].lines[0].get_xdata()) == [1]


def test_without_metrics_there_are_no_plots(tmp_path):
    assert draw_plots(tmp_path) == []


def test_plots_as_a_command(tmp_path, repository, monkeypatch, capsys):
    write(tmp_path, pretraining_rows(3))
    monkeypatch.setattr(sys, "argv", ["plots.py", str(tmp_path)])
    runpy.run_path(str(repository / "train" / "run" / "plots.py"), run_name="__main__")
    assert capsys.readouterr().out.split() == [str(tmp_path / "loss.png"), str(tmp_path / "accuracy.png")]
