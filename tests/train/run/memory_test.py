"""Peak memory as reported by the devices."""

import pytest

from train.run.pace import peak_bytes


class Device:
    def __init__(self, stats):
        self.stats = stats

    def memory_stats(self):
        return self.stats


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ([{"peak_bytes_in_use": 5}, {"peak_bytes_in_use": 7}], 7),
        ([None, {"peak_bytes_in_use": 7}], 7),
        ([{"bytes_in_use": 5}], None),
        ([None], None),
    ],
)
def test_the_peak_is_that_of_the_fullest_device(stats, expected):
    assert peak_bytes(map(Device, stats)) == expected


def test_cpus_report_no_peak():
    assert peak_bytes() is None
