"""The pictures show every number that they are given."""

import math

from benchmarks.compile_vs_run.cases import Case
from benchmarks.compile_vs_run.plots import Picture, draw


def cases(kind, depths, families=("albert", "bert")):
    return {
        Case(family=family, kind=kind, num_layers=depth, unroll=unroll): 10.0 ** (place + (unroll == 0)) * depth
        for place, family in enumerate(families)
        for depth in depths
        for unroll in (1, 0)
    }


def shown(figure):
    """What is drawn inside the limits of its panel, by the panel's title."""
    return {
        axes.get_title(loc="left"): sorted(
            (int(x), float(y))
            for line in axes.get_lines()
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
            if axes.get_ylim()[0] <= y <= axes.get_ylim()[1] and axes.get_xlim()[0] <= x <= axes.get_xlim()[1]
        )
        for axes in figure.axes
    }


def test_every_number_lies_inside_its_panel():
    """A later panel of the same row has the larger ones."""
    values = cases("pretraining", (6, 24))
    for is_logarithmic in (False, True):
        found = shown(draw(Picture("a.png", "title", values, is_logarithmic), "here"))
        for family in ("albert", "bert"):
            own = sorted((case.num_layers, y) for case, y in values.items() if case.family == family)
            assert found[f"{family}, pretraining"] == own


def test_one_depth_is_no_curve_unless_there_is_nothing_else():
    both = {**cases("forward", (12,)), **cases("pretraining", (6, 24))}
    assert set(shown(draw(Picture("a.png", "title", both), "here"))) == {"albert, pretraining", "bert, pretraining"}
    found = shown(draw(Picture("a.png", "title", cases("forward", (12,), ("bert",))), "here"))
    assert [len(points) for points in found.values()] == [2]


def test_what_never_pays_is_written_and_breaks_no_scale():
    values = {**cases("pretraining", (6, 24)), Case(family="bert", num_layers=12, unroll=2): math.inf}
    figure = draw(Picture("a.png", "title", values, is_logarithmic=True), "here")
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert written == ["never"]
    assert all(math.isfinite(axes.get_ylim()[1]) for axes in figure.axes)
