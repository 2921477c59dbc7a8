"""The style of all plots: one palette, one resolution, horizontal grid lines, no frame above and to the right."""

from pathlib import Path
from typing import Any

# Okabe and Ito's palette (jfly.uni-koeln.de/color): distinguishable with any color vision, and in gray print.
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
GRAY, DARK_GRAY, _GRID = "#999999", "#666666", "#E5E5E5"
SMALL = 8  # points


def new_figure(width: float, height: float, title: str = "") -> Any:
    """Returns an empty figure of a size in inches; it needs no display, whatever the user's settings say."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def style(axes: Any, title: str = "", grid: str = "y") -> None:
    """Gives axes the common style."""
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis=grid, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def add_legend(figure: Any, handles: Any = None, labels: Any = None, columns: int = 4) -> None:
    """Adds a legend below all axes, of the given handles or of all labeled ones."""
    given = {} if handles is None else {"handles": handles, "labels": labels}
    if handles is None or handles:
        figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=SMALL, **given)


def save(figure: Any, file: Path) -> Path:
    """Writes a PNG and returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="png")
    return file
