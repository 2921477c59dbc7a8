"""Ratios to each rival, a panel for each kind of case."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.report import ratio
from benchmarks.peers.results import Measured
from benchmarks.peers.rivals import KINDS, OURS, RIVALS
from benchmarks.peers.work import TITLES

# Okabe and Ito's palette: told apart with any color vision, and in gray print.
_COLORS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7")
_TITLES = {
    "forward": "forward",
    "mlm": "training step",
    "sts": "STS-B pass, warm",
    "compile": "compiling a step",
    "first_step": "time to first step",
    "memory": "step, layers recomputed",
    "memory_small": "step, layers recomputed, fewer rows",
}


def draw(groups: Sequence[Measured], target: Path) -> None:
    """Writes the plot as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, whatever the user's settings say
    from matplotlib.figure import Figure

    groups = [group for group in groups if any(ratio(group, row) for row in group.rows.values())]
    kinds = [kind for kind in KINDS if any(group.key.kind == kind for group in groups)]
    rows = max(1, -(-len(kinds) // 3))
    figure = Figure(figsize=(11, 3.6 * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, 3, squeeze=False).flat)
    colors = dict(zip((name for name in RIVALS if name != OURS), _COLORS, strict=True))
    shown: dict[str, None] = {}
    for axes, kind in zip(panels, kinds, strict=False):
        own = [group for group in groups if group.key.kind == kind]
        for place, group in enumerate(own):
            for offset, (name, row) in enumerate(group.rows.items()):
                if (found := ratio(group, row)) is None:
                    continue
                shown[name] = None
                reach = [[found.median - found.low], [found.high - found.median]]
                where = place + 0.12 * (offset - len(group.rows) / 2)
                axes.errorbar(where, found.median, reach, fmt="o", color=colors[name], markersize=5, capsize=2)
        _finish(axes, _TITLES[kind], [_label(group) for group in own])
    for axes in panels[len(kinds) :]:
        axes.set_visible(False)
    handles = [_handle(colors[name]) for name in shown]
    figure.legend(handles, [RIVALS[name].title for name in shown], loc="outside lower center", ncol=3, frameon=False)
    figure.suptitle("seconds of a rival over flax_lite's; above the line, flax_lite is faster", fontsize=11)
    figure.savefig(target)


def _label(group: Measured) -> str:
    title = TITLES[group.key.model]
    return title if group.key.layers is None else f"{title.removesuffix('-base')}\n{group.key.layers}"


def _handle(color: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, marker="o", linestyle="none")


def _finish(axes: Any, title: str, labels: list[str]) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.axhline(1, color="#666666", linewidth=1, linestyle=":")
    axes.set_yscale("log", base=2)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.45), max(high, 2.2))
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xticks(range(len(labels)), labels, fontsize=8.5 if len(labels) <= 3 else 7)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
