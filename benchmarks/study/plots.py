"""The study's pictures; there is one only of what was measured."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.series import Series
from benchmarks.study.models import MODELS
from benchmarks.study.published import retention
from benchmarks.study.report import rows_of
from benchmarks.study.results import Entry, Figures

# Okabe and Ito's palette: told apart with any color vision, and in gray print. A row's color is the same everywhere.
_PALETTE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#999999", "#666666")
_COLORS = dict(zip(MODELS, _PALETTE, strict=True))
_PARTS = {"embeddings": "#56B4E9", "layer": "#0072B2", "pooler": "#E69F00", "masked_lm_head": "#999999"}


class Picture(NamedTuple):
    """The name of its file, what it shows, and the PNG itself."""

    name: str
    title: str
    png: bytes


def draw_all(series: Series[Entry]) -> list[Picture]:
    """All pictures that there are numbers for."""
    figures, rows = Figures(series.rows), [row for row in rows_of(series) if MODELS[row].is_compared]
    wanted: Mapping[str, tuple[str, Callable[[Any, Figures, Sequence[str]], bool]]] = {
        "parameters": ("Where the parameters are (millions)", _parameters),
        "latency": ("One row at a time", _latency),
        "pass": ("STS-B pass at batch 1 (seconds)", _passes),
        "training": ("Training, tokens a second", _training),
        "memory": ("Most memory held (MB)", _memory),
        "quality": ("Published quality over measured latency", _quality),
    }
    drawn = ((name, title, _drawn(title, draw, figures, rows)) for name, (title, draw) in wanted.items())
    return [Picture(f"study_{name}.png", title, png) for name, title, png in drawn if png is not None]


def _drawn(
    title: str, draw: Callable[[Any, Figures, Sequence[str]], bool], figures: Figures, rows: Sequence[str]
) -> bytes | None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, whatever the user's settings say
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not draw(axes, figures, rows):
        return None
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _bars(axes: Any, columns: Mapping[str, Mapping[str, float | None]], shades: Sequence[str]) -> bool:
    """Groups of horizontal bars, a group for each row that has all columns."""
    rows = [row for row in next(iter(columns.values())) if all(column[row] is not None for column in columns.values())]
    if not rows:
        return False
    height = 0.8 / len(columns)
    for number, ((name, column), shade) in enumerate(zip(columns.items(), shades, strict=True)):
        places = [place + (number - (len(columns) - 1) / 2) * height for place in range(len(rows))]
        bars = axes.barh(places, [column[row] for row in rows], height * 0.92, label=name, color=shade)
        axes.bar_label(bars, fmt=_figure, padding=3, fontsize=8)
    axes.set_yticks(range(len(rows)), [MODELS[row].title for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    if len(columns) > 1:
        axes.figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return True


def _figure(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _parameters(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    parts = {row: found["parts"] for row in rows if (found := figures.part(row, "size"))}
    if not parts:
        return False
    lefts = dict.fromkeys(parts, 0.0)
    for name, color in _PARTS.items():
        widths = [parts[row].get(name, 0) / 1e6 for row in parts]
        axes.barh(list(range(len(parts))), widths, left=list(lefts.values()), color=color, label=name.replace("_", " "))
        lefts = {row: lefts[row] + width for row, width in zip(parts, widths, strict=True)}
    axes.set_yticks(range(len(parts)), [MODELS[row].title for row in parts])
    axes.invert_yaxis()
    axes.figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return True


def _latency(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    from matplotlib.ticker import LogLocator

    found = {row: part["seconds"] for row in rows if (part := figures.part(row, "latency"))}
    if not found:
        return False
    for row, seconds in found.items():
        points = [(int(length), 1000 * (figures.latency(row, length) or 0)) for length in seconds]
        axes.loglog(*zip(*points, strict=True), "o-", color=_COLORS[row], label=MODELS[row].title, markersize=4)
    lengths = sorted({int(length) for seconds in found.values() for length in seconds})
    axes.set_xticks(lengths, list(map(str, lengths)))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("tokens of the row")
    axes.set_ylabel("ms")
    axes.figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return True


def _passes(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    columns = {
        "cold": {row: figures.cold_pass(row) for row in rows},
        "warm": {row: figures.warm_pass(row) for row in rows},
    }
    return _bars(axes, columns, ("#56B4E9", "#D55E00"))


def _training(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    return _bars(axes, {"": {row: figures.training(row) for row in rows}}, ("#0072B2",))


def _memory(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    kinds = ("inference", "training")
    columns = {kind: {row: _scaled(figures.memory(row, kind), 1e6) for row in rows} for kind in kinds}
    return _bars(axes, columns, ("#56B4E9", "#0072B2"))


def _quality(axes: Any, figures: Figures, rows: Sequence[str]) -> bool:
    """Hollow marks: quality is published, not measured."""
    first = next((part for row in rows if (part := figures.part(row, "latency"))), None)
    lengths = list(first["seconds"]) if first else []
    length = lengths[len(lengths) // 2] if lengths else "0"
    points = {row: (figures.latency(row, length), retention(row)) for row in rows}
    known = {row: (1000 * x, 100 * y) for row, (x, y) in points.items() if x is not None and y is not None}
    for number, (row, point) in enumerate(sorted(known.items(), key=lambda item: item[1])):
        above = 1 if number % 2 else -1  # neighbors may be near each other
        axes.plot(*point, "o", markerfacecolor="none", markeredgecolor=_COLORS[row], markersize=9, markeredgewidth=2)
        where = {"xytext": (0, 10 * above), "textcoords": "offset points", "ha": "center"}
        axes.annotate(MODELS[row].title, point, va="bottom" if above > 0 else "top", fontsize=8, **where)
    axes.set_xlabel(f"measured, ms for a row of {length} tokens")
    axes.set_ylabel("published, % of BERT-base's score\nin the same source")
    axes.margins(0.2)
    return bool(known)
