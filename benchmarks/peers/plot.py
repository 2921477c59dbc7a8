"""The plot of the ratios to flax_lite, with a panel for each kind of case."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import plots
from benchmarks.peers.report import model_title, ratio
from benchmarks.peers.results import Measured
from benchmarks.peers.rivals import FLAX_LITE, KINDS, RIVALS

_PALETTE = (plots.BLUE, plots.SKY, plots.ORANGE, plots.YELLOW, plots.GREEN, plots.PINK)
_COLORS = dict(zip((name for name in RIVALS if name != FLAX_LITE), _PALETTE, strict=True))
_TITLES = {
    "forward": "forward",
    "mlm": "training step",
    "sts": "STS-B pass, warm",
    "compile": "compiling a step",
    "first_step": "time to first step",
    "memory": "step, layers recomputed",
    "memory_small": "step, layers recomputed, fewer rows",
}
_TITLE = "seconds of a rival over flax_lite's; above the line, flax_lite is faster"
_PER_ROW = 3


def draw(groups: Sequence[Measured], target: Path) -> None:
    """Writes the plot as a PNG."""
    groups = [group for group in groups if any(ratio(group, row) for row in group.rows.values())]
    kinds = [kind for kind in KINDS if any(group.key.kind == kind for group in groups)]
    rows = max(1, -(-len(kinds) // _PER_ROW))
    figure = plots.new_figure(11, 3.6 * rows, _TITLE)
    panels = list(figure.subplots(rows, _PER_ROW, squeeze=False).flat)
    shown: dict[str, Any] = {}
    for axes, kind in zip(panels, kinds, strict=False):
        of_kind = [group for group in groups if group.key.kind == kind]
        for number, group in enumerate(of_kind):
            for offset, (name, row) in enumerate(group.rows.items()):
                if found := ratio(group, row):
                    x = number + 0.12 * (offset - len(group.rows) / 2)
                    bars = [[found.median - found.low], [found.high - found.median]]
                    style = {"fmt": "o", "color": _COLORS[name], "markersize": 5, "capsize": 2}
                    shown[name] = axes.errorbar(x, found.median, bars, **style)
        labels = [model_title(group, "\n").removesuffix(" layers") for group in of_kind]
        _finish(axes, _TITLES[kind], labels)
    for axes in panels[len(kinds) :]:
        axes.set_visible(False)
    plots.add_legend(figure, list(shown.values()), [RIVALS[name].title for name in shown], columns=3)
    plots.save(figure, target)


def _finish(axes: Any, title: str, labels: list[str]) -> None:
    plots.style(axes, title)
    axes.axhline(1, color=plots.DARK_GRAY, linewidth=1, linestyle=":")
    axes.set_yscale("log", base=2)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.45), max(high, 2.2))
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xticks(range(len(labels)), labels, fontsize=plots.SMALL if len(labels) <= 3 else 7)
