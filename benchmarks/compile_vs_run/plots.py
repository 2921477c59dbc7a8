"""Three pictures over depth: build time, memory, and the steps after which unrolling has paid for itself."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from benchmarks.compile_vs_run.analysis import break_evens
from benchmarks.compile_vs_run.cases import FAMILIES, KINDS, Case, describe_execution
from benchmarks.compile_vs_run.results import Measurement

# Okabe and Ito's palette: told apart with any color vision, and in gray print.
_COLORS = {1: "#0072B2", 2: "#D55E00", 4: "#009E73", 0: "#CC79A7", 3: "#E69F00", 6: "#56B4E9", 8: "#000000"}
_DASHES = {"none": "-", "dots": "--", "full": ":"}
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Picture:
    """A file, what it shows, and its values by case; infinity is drawn on the upper edge."""

    name: str
    title: str
    values: Mapping[Case, float]
    is_logarithmic: bool = False


def draw_all(measured: Mapping[Case, Measurement], folder: Path, subtitle: str) -> list[Path]:
    """Writes a PNG for each picture that there are numbers for, and returns them."""
    pictures = (
        Picture(
            "compile_vs_run.png",
            "trace + lower + compile (s)",
            {case: one.build_seconds for case, one in measured.items()},
        ),
        Picture(
            "compile_vs_run_memory.png",
            "temporary memory of a device (MiB)",
            {case: one.temporary_bytes / _MIB for case, one in measured.items()},
        ),
        Picture(
            "compile_vs_run_break_even.png",
            "steps until unrolling has paid for itself",
            {one.case: one.steps for one in break_evens(measured)},
            is_logarithmic=True,
        ),
    )
    return [_draw(picture, folder / picture.name, subtitle) for picture in pictures if picture.values]


def _draw(picture: Picture, target: Path, subtitle: str) -> Path:
    draw(picture, subtitle).savefig(target)
    return target


def draw(picture: Picture, subtitle: str) -> Any:
    """A panel for each family and each kind of work that was measured at several depths, or for all if none was."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, whatever the user's settings say
    from matplotlib.figure import Figure

    depths = {kind: {case.num_layers for case in picture.values if case.kind == kind} for kind in KINDS}
    kinds = [kind for kind in KINDS if len(depths[kind]) > 1] or [kind for kind in KINDS if depths[kind]]
    families = [name for name in FAMILIES if any(case.family == name for case in picture.values)]
    figure = Figure(figsize=(3.2 + 2.9 * len(families), 1.3 + 2.6 * len(kinds)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(kinds), len(families), squeeze=False, sharex=True, sharey="row")
    styles = _styles(picture.values)
    for kind, row in zip(kinds, grid, strict=True):
        of_kind = {case: y for case, y in picture.values.items() if case.kind == kind}
        for family, axes in zip(families, row, strict=True):
            _lines(axes, {case: y for case, y in of_kind.items() if case.family == family}, styles)
            axes.set_title(f"{family}, {kind}", loc="left", fontsize=9)
        _scale(row[0], of_kind.values(), picture.is_logarithmic)
    for axes in grid[-1]:
        axes.set_xlabel("layers")
        axes.set_xticks(sorted(set().union(*(depths[kind] for kind in kinds))))
    handles = {line.get_label(): line for axes in grid.flat for line in axes.get_lines()}
    shown = [name for name in styles if name in handles]
    figure.legend([handles[name] for name in shown], shown, loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(f"{picture.title}\n{subtitle}", fontsize=10, x=0.01, ha="left")
    return figure


def _scale(axes: Any, values: Collection[float], is_logarithmic: bool) -> None:
    """The vertical axis of a row of panels, which they share: it holds the values of all of them."""
    largest = max(filter(math.isfinite, values), default=1.0)
    if is_logarithmic:
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, 10 * max(10, largest))  # room for those that are never
    else:
        axes.set_ylim(0, 1.08 * largest)


def _styles(cases: Mapping[Case, float]) -> dict[str, dict[str, Any]]:
    """Color by layers of an iteration, dashes by remat: the same in every panel and every picture."""
    pairs = sorted({(case.remat != "none", case.remat, case.unroll == 0, case.unroll) for case in cases})
    return {
        describe_execution(unroll, remat): {
            "color": _COLORS.get(unroll, "#666666"),
            "linestyle": _DASHES[remat],
        }
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
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
