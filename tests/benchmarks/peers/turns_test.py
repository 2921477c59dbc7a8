"""Statistics of rounds."""

from benchmarks.peers.turns import order, ratios
from benchmarks.spread import Spread


def test_ratios_are_taken_round_by_round():
    """A round that was slow for both says nothing about either."""
    assert ratios([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == Spread(2.0, 2.0, 2.0)
    assert ratios([6.0], [2.0, 1.0]) == Spread(3.0, 3.0, 3.0)
    assert ratios([1.0], []) is None


def test_everyone_goes_first_in_turn():
    assert [order("abc", number)[0] for number in range(4)] == ["a", "b", "c", "a"]
    assert order([], 3) == []
