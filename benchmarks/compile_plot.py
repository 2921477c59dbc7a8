"""Two curves over depth, drawn side by side: seconds before the first step, and temporary memory."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

# Okabe and Ito's palette: told apart with any colour vision, and in grey print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", ":", "-.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """One model over depth.

    Attributes:
        colour_by: what its colour stands for (the family).
        dash_by: what its dashes stand for (the execution).
        depths: numbers of layers.
        seconds: to trace, lower and compile.
        mib: temporary memory.
    """

    colour_by: str
    dash_by: str
    depths: Sequence[int]
    seconds: Sequence[float]
    mib: Sequence[float]


def draw(curves: Sequence[Curve], target: Path) -> None:
    """Writes the plot as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, whatever the user's settings say
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    time_axes, memory_axes = figure.subplots(1, 2)
    colours = dict(zip(dict.fromkeys(curve.colour_by for curve in curves), _COLOURS, strict=False))
    dashes = dict(zip(dict.fromkeys(curve.dash_by for curve in curves), _DASHES, strict=False))
    for curve in curves:
        style = {"color": colours[curve.colour_by], "linestyle": dashes[curve.dash_by], "marker": "o", "markersize": 4}
        time_axes.plot(curve.depths, curve.seconds, **style)
        memory_axes.plot(curve.depths, curve.mib, **style, label=f"{curve.colour_by}, {curve.dash_by}")
    time_axes.set_title("trace + lower + compile (s)", loc="left", fontsize=11)
    memory_axes.set_title("temporary memory of a step (MiB)", loc="left", fontsize=11)
    for axes in (time_axes, memory_axes):
        axes.set_xlabel("layers")
        axes.set_xticks(sorted({depth for curve in curves for depth in curve.depths}))
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=8.5)
    figure.savefig(target)
