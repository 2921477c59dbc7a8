"""A series with made-up figures."""

from typing import Any

from benchmarks.series import Series
from benchmarks.study.results import Entry

CIRCUMSTANCES = {
    "device_count": 1,
    "device": "none",
    "platform": "cpu",
    "cpu_count": 2,
    "commit": "0",
    "python": "3",
    "versions": {"jax": "0"},
    "xla_flags": "",
    "smoke": False,
}


def entry(row: str, part: str, outcome: dict[str, Any] | str, **settings: Any) -> Entry:
    """An answer to a question about a row."""
    return Entry({"row": row, "part": part, "settings": settings}, "2026-01-01T00:00:00+00:00", 0.5, outcome)


def series(*entries: Entry) -> Series[Entry]:
    """A series of a machine that there is not."""
    return Series(CIRCUMSTANCES, list(entries))
