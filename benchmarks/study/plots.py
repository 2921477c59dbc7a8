"""The plots of the study; a plot is drawn only if its figures were measured."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.harness import plots
from benchmarks.harness.results import Series
from benchmarks.study.models import MODELS
from benchmarks.study.published import retention
from benchmarks.study.report import rows_of
from benchmarks.study.results import Figures, Row

# A row's color is the same in all plots.
_PALETTE = (plots.BLACK, plots.ORANGE, plots.BLUE, plots.GREEN, plots.YELLOW, plots.PINK, plots.SKY)
_COLORS = dict(zip(MODELS, (*_PALETTE, plots.GRAY, plots.DARK_GRAY), strict=True))
_PARTS = {"embeddings": plots.SKY, "layer": plots.BLUE, "pooler": plots.YELLOW, "masked_lm_head": plots.GRAY}
Draw = Callable[[Any, Figures, Sequence[str]], bool]


class Plot(NamedTuple):
    """The name of a file, its title, and its content."""

    name: str
    title: str
    png: bytes


def draw_all(series: Series[Row], stem: str) -> list[Plot]:
    """Draws all plots that have figures."""
    figures, rows = Figures(series.rows), [row for row in rows_of(series) if MODELS[row].is_compared]
    wanted: Mapping[str, tuple[str, Draw]] = {
        "parameters": ("Where the parameters are (millions)", _parameters),
        "latency": ("One row at a time", _latency),
        "pass": ("STS-B pass at batch 1 (seconds)", _passes),
        "training": ("Training, tokens per second", _training),
        "memory": ("Peak memory (MB)", _memory),
        "quality": ("Published quality over measured latency", _quality),
    }
    drawn = []
    for name, (title, draw) in wanted.items():
        figure = plots.new_figure(6.4, 3.6, title)
        axes = figure.subplots()
        plots.style(axes, grid="both")
        if draw(axes, figures, rows):
            file = io.BytesIO()
            figure.savefig(file, format="png")
            drawn.append(Plot(f"{stem}_{name}.png", title, file.getvalue()))
    return drawn


def _bars(axes: Any, columns: Mapping[str, Mapping[str, float | None]], colors: Sequence[str]) -> bool:
    """Draws horizontal bars, a group for each row that has all columns."""
    rows = [row for row in next(iter(columns.values())) if all(column[row] is not None for column in columns.values())]
    if not rows:
        return False
    height = 0.8 / len(columns)
    for number, ((name, column), color) in enumerate(zip(columns.items(), colors, strict=True)):
        centers = [row + (number - (len(columns) - 1) / 2) * height for row in range(len(rows))]
        bars = axes.barh(centers, [column[row] for row in rows], height * 0.92, label=name, color=color)
        axes.bar_label(bars, fmt=_label, padding=3, fontsize=plots.SMALL)
    axes.margins(x=0.12)
    _finish_bars(axes, rows, legend=len(columns) > 1)
    return True


def _finish_bars(axes: Any, rows: Sequence[str], legend: bool) -> None:
    axes.set_yticks(range(len(rows)), [MODELS[row].title for row in rows])
    axes.invert_yaxis()
    if legend:
        plots.add_legend(axes.figure)


def _label(value: float) -> str:
    """Formats three digits, or all before the decimal point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _parameters(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    parts = {row: found["parts"] for row in rows if (found := figures.part(row, "size"))}
    lefts = dict.fromkeys(parts, 0.0)
    for name, color in _PARTS.items():
        widths = {row: parts[row].get(name, 0) / 1e6 for row in parts}
        label = name.replace("_", " ")
        axes.barh(range(len(parts)), list(widths.values()), left=list(lefts.values()), color=color, label=label)
        lefts = {row: lefts[row] + width for row, width in widths.items()}
    _finish_bars(axes, list(parts), legend=True)
    return bool(parts)


def _latency(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    from matplotlib.ticker import LogLocator

    found = {row: part["seconds"] for row in rows if (part := figures.part(row, "latency"))}
    if not found:
        return False
    for row, seconds in found.items():
        points = [(int(length), 1000 * (figures.number(row, "latency", "seconds", length) or 0)) for length in seconds]
        axes.loglog(*zip(*points, strict=True), "o-", color=_COLORS[row], label=MODELS[row].title, markersize=4)
    lengths = sorted({int(length) for seconds in found.values() for length in seconds})
    axes.set_xticks(lengths, list(map(str, lengths)))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("tokens of the row")
    axes.set_ylabel("ms")
    plots.add_legend(axes.figure)
    return True


def _passes(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    cold, warm = (
        {row: figures.number(row, "pass", "cold") for row in rows},
        {row: figures.number(row, "pass", "warm") for row in rows},
    )
    return _bars(axes, {"cold": cold, "warm": warm}, (plots.SKY, plots.ORANGE))


def _training(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    return _bars(axes, {"": {row: figures.rate(row, "training") for row in rows}}, (plots.BLUE,))


def _memory(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    def megabytes(kind: str) -> dict[str, float | None]:
        return {
            row: None if (held := figures.number(row, f"{kind}_memory", "bytes")) is None else held / 1e6
            for row in rows
        }

    columns = {kind: megabytes(kind) for kind in ("inference", "training")}
    return _bars(axes, columns, (plots.SKY, plots.BLUE))


def _quality(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    """Draws hollow markers, because quality is published and not measured."""
    length = figures.middle_length(rows)
    points = {row: (figures.number(row, "latency", "seconds", length), retention(row)) for row in rows}
    known = {row: (1000 * x, 100 * y) for row, (x, y) in points.items() if x is not None and y is not None}
    for number, (row, point) in enumerate(sorted(known.items(), key=lambda item: item[1])):
        side = 1 if number % 2 else -1  # neighbors may be close, so labels alternate between above and below
        axes.plot(*point, "o", markerfacecolor="none", markeredgecolor=_COLORS[row], markersize=9, markeredgewidth=2)
        where = {"xytext": (0, 10 * side), "textcoords": "offset points", "ha": "center"}
        axes.annotate(MODELS[row].title, point, va="bottom" if side > 0 else "top", fontsize=plots.SMALL, **where)
    axes.set_xlabel(f"measured, ms for a row of {length} tokens")
    axes.set_ylabel("published, % of BERT-base's score\nin the same source")
    axes.margins(0.2)
    return bool(known)
