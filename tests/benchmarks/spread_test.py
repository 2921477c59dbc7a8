"""Statistics of repeated measurements."""

from benchmarks.spread import Spread, spread


def test_spread_is_median_and_quartiles():
    assert spread([5.0, 1.0, 2.0, 3.0, 4.0]) == Spread(3.0, 2.0, 4.0)


def test_few_values_have_their_extremes_for_quartiles():
    assert spread([3.0, 1.0, 9.0]) == Spread(3.0, 1.0, 9.0)
    assert spread([1.0, 3.0]) == Spread(2.0, 1.0, 3.0)
    assert spread([2.0]) == Spread(2.0, 2.0, 2.0)
    assert spread([]) is None
