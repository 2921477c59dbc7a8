"""Statistics of repeated measurements, and turns."""

from benchmarks.harness.timing import Spread, ratios, repeated, spread, turn_order


def test_spread_is_median_and_quartiles():
    assert spread([5.0, 1.0, 2.0, 3.0, 4.0]) == Spread(3.0, 2.0, 4.0)


def test_few_values_have_minimum_and_maximum_for_quartiles():
    assert spread([3.0, 1.0, 9.0]) == Spread(3.0, 1.0, 9.0)
    assert spread([1.0, 3.0]) == Spread(2.0, 1.0, 3.0)
    assert spread([2.0]) == Spread(2.0, 2.0, 2.0)
    assert spread([]) is None


def test_ratios_are_taken_round_by_round():
    """A round that was slow for both says nothing about either."""
    assert ratios([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == Spread(2.0, 2.0, 2.0)
    assert ratios([6.0], [2.0, 1.0]) == Spread(3.0, 3.0, 3.0)
    assert ratios([1.0], []) is None


def test_each_goes_first_in_turn():
    assert [turn_order("abc", number)[0] for number in range(4)] == ["a", "b", "c", "a"]
    assert turn_order([], 3) == []


def test_repetition_ends_at_the_limit():
    assert repeated(lambda: 1.0, 10, 2.5) == [1.0] * 3
    assert repeated(lambda: 1.0, 2, 2.5) == [1.0] * 2
    assert repeated(lambda: 9.0, 2, 2.5) == [9.0]
