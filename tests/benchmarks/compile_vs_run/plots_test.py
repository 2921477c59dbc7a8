"""Plots show every value."""

import math

from benchmarks.compile_vs_run.cases import Case
from benchmarks.compile_vs_run.plots import Plot, draw


def cases(kind, depths, families=("albert", "bert")):
    return {
        Case(family=family, kind=kind, num_layers=depth, unroll=unroll): 10.0 ** (place + (unroll == 0)) * depth
        for place, family in enumerate(families)
        for depth in depths
        for unroll in (1, 0)
    }


def shown(figure):
    """Returns the points drawn inside the limits of each panel, by the panel's title."""
    return {
        axes.get_title(loc="left"): sorted(
            (int(x), float(y))
            for line in axes.get_lines()
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
            if axes.get_ylim()[0] <= y <= axes.get_ylim()[1] and axes.get_xlim()[0] <= x <= axes.get_xlim()[1]
        )
        for axes in figure.axes
    }


def test_every_value_is_inside_its_panel():
    """A later panel of the same row has the larger values."""
    values = cases("pretraining", (6, 24))
    for is_logarithmic in (False, True):
        found = shown(draw(Plot("title", values, is_logarithmic), "here"))
        for family in ("albert", "bert"):
            own = sorted((case.num_layers, y) for case, y in values.items() if case.family == family)
            assert found[f"{family}, pretraining"] == own


def test_kinds_with_one_depth_are_drawn_only_if_there_are_no_others():
    both = {**cases("forward", (12,)), **cases("pretraining", (6, 24))}
    assert set(shown(draw(Plot("title", both), "here"))) == {"albert, pretraining", "bert, pretraining"}
    found = shown(draw(Plot("title", cases("forward", (12,), ("bert",))), "here"))
    assert [len(points) for points in found.values()] == [2]


def test_infinity_is_written_as_never_and_keeps_the_scale_finite():
    values = {**cases("pretraining", (6, 24)), Case(family="bert", num_layers=12, unroll=2): math.inf}
    figure = draw(Plot("title", values, is_logarithmic=True), "here")
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert written == ["never"]
    assert all(math.isfinite(axes.get_ylim()[1]) for axes in figure.axes)
