"""Percentiles from buckets, beside those of all durations."""

import numpy as np
import pytest

from train.run.pace import Durations


def counted(values):
    durations = Durations()
    for value in values:
        durations.add(value)
    return durations


@pytest.mark.parametrize("percent", [0, 1, 50, 90, 99, 100])
@pytest.mark.parametrize("count", [1, 2, 10, 1000])
def test_percentiles_are_the_nearest_ranks_to_half_a_percent(percent, count):
    values = np.random.default_rng(count).lognormal(-2, 2, count)
    expected = np.percentile(values, percent, method="inverted_cdf")
    assert counted(values).percentile(percent) == pytest.approx(expected, rel=0.0051)


def test_the_longest_is_exact_and_bounds_every_percentile():
    durations = counted([0.1, 0.30001, 0.2])
    assert durations.longest == durations.percentile(100) == 0.30001
    assert len(durations) == 3


def test_memory_does_not_grow_with_the_number():
    durations = counted(np.geomspace(1e-9, 1e5, 100_000))
    assert len(durations) == 100_000
    assert len(durations._counts) < 2600


def test_of_nothing_there_is_no_percentile():
    with pytest.raises(ValueError, match="no duration"):
        Durations().percentile(50)
