"""Rows with made-up figures."""

from typing import Any

from benchmarks.study.results import Row

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


def row(encoder: str, part: str, outcome: dict[str, Any] | str, **settings: Any) -> Row:
    """Returns an answer to a question about an encoder."""
    asked = {"row": encoder, "part": part, "settings": settings}
    return Row(asked=asked, started="2026-01-01T00:00:00+00:00", load_before=0.5, outcome=outcome)
