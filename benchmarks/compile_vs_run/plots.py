"""Three plots over depth: build time, memory, and the steps after which unrolling has paid off."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from benchmarks.compile_vs_run.analysis import break_evens
from benchmarks.compile_vs_run.cases import FAMILIES, KINDS, Case, describe_execution
from benchmarks.compile_vs_run.results import Row
from benchmarks.harness import plots
from benchmarks.harness.circumstances import device_title
from benchmarks.harness.results import Series

_COLORS = {1: plots.BLUE, 2: plots.ORANGE, 4: plots.GREEN, 0: plots.PINK, 3: plots.YELLOW, 6: plots.SKY, 8: plots.BLACK}
_DASHES = {"none": "-", "dots": "--", "full": ":"}
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Plot:
    """A quantity by case; infinity is written at the upper edge."""

    title: str
    values: Mapping[Case, float]
    is_logarithmic: bool = False


def draw_all(series: Series[Row], directory: Path, stem: str) -> list[Path]:
    """Writes a PNG for each plot that has values, and returns their paths."""
    measured = series.measured
    builds = {case: one.build_seconds for case, one in measured.items()}
    memory = {case: one.temporary_bytes / _MIB for case, one in measured.items()}
    evens = {one.case: one.steps for one in break_evens(series)}
    found = {
        stem: Plot("trace + lower + compile (s)", builds),
        f"{stem}_memory": Plot("temporary memory of a device (MiB)", memory),
        f"{stem}_break_even": Plot("steps until unrolling has paid off", evens, is_logarithmic=True),
    }
    about = series.circumstances
    subtitle = f"{device_title(about)}, jax {about['versions']['jax']}"
    drawn = {name: plot for name, plot in found.items() if plot.values}
    return [plots.save(draw(plot, subtitle), directory / f"{name}.png") for name, plot in drawn.items()]


def draw(plot: Plot, subtitle: str) -> Any:
    """Draws a panel for each family and each kind of work measured at several depths, or for all kinds if none was."""
    depths = {kind: {case.num_layers for case in plot.values if case.kind == kind} for kind in KINDS}
    kinds = [kind for kind in KINDS if len(depths[kind]) > 1] or [kind for kind in KINDS if depths[kind]]
    families = [name for name in FAMILIES if any(case.family == name for case in plot.values)]
    size = 3.2 + 2.9 * len(families), 1.3 + 2.6 * len(kinds)
    figure = plots.new_figure(*size, f"{plot.title}\n{subtitle}")
    grid = figure.subplots(len(kinds), len(families), squeeze=False, sharex=True, sharey="row")
    styles = _styles(plot.values)
    for kind, row in zip(kinds, grid, strict=True):
        of_kind = {case: y for case, y in plot.values.items() if case.kind == kind}
        for family, axes in zip(families, row, strict=True):
            _lines(axes, {case: y for case, y in of_kind.items() if case.family == family}, styles)
            plots.style(axes, f"{family}, {kind}")
        _scale(row[0], of_kind.values(), plot.is_logarithmic)
    for axes in grid[-1]:
        axes.set_xlabel("layers")
        axes.set_xticks(sorted(set().union(*(depths[kind] for kind in kinds))))
    handles = {line.get_label(): line for axes in grid.flat for line in axes.get_lines()}
    shown = [name for name in styles if name in handles]
    where = {"loc": "outside right center", "frameon": False, "fontsize": plots.SMALL}
    figure.legend([handles[name] for name in shown], shown, **where)
    return figure


def _scale(axes: Any, values: Collection[float], is_logarithmic: bool) -> None:
    """Fits the vertical axis, which the panels of a row share, to the values of all of them."""
    largest = max(filter(math.isfinite, values), default=1.0)
    if is_logarithmic:
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, 10 * max(10, largest))  # leaves room for the word "never"
    else:
        axes.set_ylim(0, 1.08 * largest)


def _styles(cases: Mapping[Case, float]) -> dict[str, dict[str, Any]]:
    """Chooses colors by layers per iteration and dashes by remat, the same in every panel and plot."""
    pairs = sorted({(case.remat != "none", case.remat, case.unroll == 0, case.unroll) for case in cases})
    return {
        describe_execution(unroll, remat): {"color": _COLORS.get(unroll, plots.DARK_GRAY), "linestyle": _DASHES[remat]}
        for _, remat, _, unroll in pairs
    }


def _lines(axes: Any, values: Mapping[Case, float], styles: Mapping[str, Any]) -> None:
    by_execution: dict[str, list[tuple[int, float]]] = {}
    for case, value in values.items():
        by_execution.setdefault(describe_execution(case.unroll, case.remat), []).append((case.num_layers, value))
    for line, (name, points) in enumerate(by_execution.items()):
        points.sort()
        finite = [(x, y) for x, y in points if math.isfinite(y)]
        style = {**styles[name], "marker": "o", "markersize": 3.5, "linewidth": 1.3}
        axes.plot([x for x, _ in finite], [y for _, y in finite], label=name, **style)
        for x in (x for x, y in points if math.isinf(y)):
            where = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "top"}
            axes.annotate("never", (x, 0.99 - 0.07 * line), color=style["color"], fontsize=7, **where)
    axes.margins(x=0.1)
