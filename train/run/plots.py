"""Draws loss.png, accuracy.png and scores.png from metrics.jsonl; of a running job: `python -m train.run.plots DIR`."""

import contextlib
import math
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.run.metrics import Row, read_metrics

# Okabe and Ito's palette (jfly.uni-koeln.de/color): distinguishable with any color vision and in grayscale.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# The most classes whose names, and whose counts, are written into a confusion matrix.
_MAX_NAMES, _MAX_NUMBERS = 40, 20
_SMOOTHING_ROWS = 0.02  # width of the running mean over a noisy curve, as a share of the rows


def draw_plots(
    folder: Path, references: Mapping[str, Mapping[str, float]] | None = None, title: str = ""
) -> list[Path]:
    """Draws the losses, the accuracies, and the other scores of held-out sets (F1, exact match, correlations).

    The training loss is the column `loss_mean`, since the loss of a single step is noisy.

    Args:
      folder: the work directory; contains metrics.jsonl, and the plots are written to it.
      references: {"loss", "accuracy" or "scores": {name: value}}, drawn as horizontal lines.
      title: the title of the plots.

    Returns:
      The files written; no file for a kind of metric without rows.
    """
    rows = read_metrics(folder / "metrics.jsonl")
    written = []
    for kind, names in (("loss", _losses(rows)), ("accuracy", _accuracies(rows)), ("scores", _scores(rows))):
        if names:
            target = folder / f"{kind}.png"
            _draw(rows, names, kind, (references or {}).get(kind, {}), title, target)
            written.append(target)
    return written


def draw_confusion_matrix(counts: Sequence[Sequence[int]], labels: Sequence[str], target: Path, title: str) -> None:
    """Draws a confusion matrix: a row for each class of the references, a column for each predicted class.

    Colors are shares of a row, so that rare classes are as visible as frequent ones. Numbers and names are left out
    where they would overlap.
    """
    inches = 1.5 + 0.45 * min(max(len(labels), 6), _MAX_NAMES)
    figure = _figure((inches, inches))
    axes = figure.add_subplot()
    totals = [max(sum(row), 1) for row in counts]
    axes.imshow([[count / n for count in row] for row, n in zip(counts, totals, strict=True)], "Blues", vmin=0, vmax=1)
    if len(labels) <= _MAX_NAMES:
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
    if len(labels) <= _MAX_NUMBERS:
        for row, (found, total) in enumerate(zip(counts, totals, strict=True)):
            for column, count in enumerate(found):
                color = "white" if 2 * count > total else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("reference")
    axes.set_title(title, loc="left", fontsize=11)
    figure.savefig(target)


def _figure(size: tuple[float, float]) -> Any:
    with _without_notebook_backend():
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # needs no display
        from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw(
    rows: Sequence[Row], names: Sequence[str], kind: str, references: Mapping[str, float], title: str, target: Path
) -> None:
    figure = _figure((8, 4.5))
    axes = figure.add_subplot()
    for color, name in zip(_COLORS * len(names), names, strict=False):
        _curve(axes, *_training(rows, name), color, f"{name}, training")
        steps, values = _series(rows, "eval", name)
        if steps:
            style = {"color": color, "markeredgecolor": "white", "markersize": 6, "linewidth": 1.2}
            axes.plot(steps, values, "o--", label=f"{name}, held-out ({values[-1]:.3g})", zorder=3, **style)
    for name, value in references.items():
        axes.axhline(value, color="#666666", linewidth=1, linestyle=":", zorder=1)
        position = {"xy": (1.01, value), "xycoords": ("axes fraction", "data"), "va": "center"}
        axes.annotate(f"{name}\n{value:.3g}", **position, color="#555555", fontsize=8, annotation_clip=False)
    if kind == "accuracy":
        axes.set_ylim(0, 1.02)
    elif kind == "scores":
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.02)  # a correlation may be negative
    axes.set_xlabel("step")
    axes.set_ylabel(kind)  # no unit: a distillation has losses in nats and squared errors
    axes.set_xlim(left=0)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#AAAAAA")
    axes.tick_params(color="#AAAAAA")
    axes.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize=8.5)
    if title:
        axes.set_title(title, loc="left", fontsize=11)
    figure.savefig(target)


@contextlib.contextmanager
def _without_notebook_backend() -> Iterator[None]:
    """Removes MPLBACKEND while matplotlib is imported.

    A notebook sets it to its own backend for child processes, and the import fails if that package is not installed.
    """
    hidden = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if hidden is not None:
            os.environ["MPLBACKEND"] = hidden


def _columns(rows: Sequence[Row], split: str | None = None) -> list[str]:
    """Returns the columns of the rows of a split, or of all rows, in the order in which they first occur."""
    return list(dict.fromkeys(name for row in rows if split in (None, row["split"]) for name in row))


def _losses(rows: Sequence[Row]) -> list[str]:
    """Returns the loss, and its terms if there are several."""
    names = [name for name in _columns(rows) if name.endswith("loss")]
    return ["loss"] if "loss" in names and len(names) == 2 else names


def _accuracies(rows: Sequence[Row]) -> list[str]:
    return [name for name in _columns(rows) if name.endswith("accuracy")]


def _scores(rows: Sequence[Row]) -> list[str]:
    """Returns the columns of held-out rows that are scores: not losses, accuracies or thresholds, and at most 1."""
    training = {*_columns(rows, "train"), "step", "split"}

    def is_score(name: str) -> bool:
        _, values = _series(rows, "eval", name)
        return bool(values) and all(-1.0 <= value <= 1.0 for value in values)

    names = [name for name in _columns(rows, "eval") if name not in training]
    return [name for name in names if not name.endswith(("loss", "accuracy", "threshold")) and is_score(name)]


def _training(rows: Sequence[Row], name: str) -> tuple[list[int], list[float]]:
    if name == "loss":
        rows = [{**row, name: row.get("loss_mean", row.get(name))} for row in rows]
    return _series(rows, "train", name)


def _series(rows: Sequence[Row], split: str, name: str) -> tuple[list[int], list[float]]:
    points = [(row["step"], row[name]) for row in rows if row["split"] == split and row.get(name) is not None]
    return [step for step, _ in points], [value for _, value in points]


def _curve(axes: Any, steps: Sequence[int], values: Sequence[float], color: str, label: str) -> None:
    if not steps:
        return
    half = math.ceil(len(values) * _SMOOTHING_ROWS / 2)
    if len(values) < 50:
        axes.plot(steps, values, color=color, linewidth=1.6, label=label)
        return
    windows = [values[max(0, at - half) : at + half + 1] for at in range(len(values))]
    axes.plot(steps, values, color=color, linewidth=0.6, alpha=0.25)
    axes.plot(steps, [statistics.fmean(window) for window in windows], color=color, linewidth=1.6, label=label)


if __name__ == "__main__":
    for path in draw_plots(Path(sys.argv[1])):
        print(path)
