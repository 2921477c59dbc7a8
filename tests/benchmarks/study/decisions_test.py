"""Choices follow the figures, and need at least two."""

from benchmarks.study.decisions import decide
from benchmarks.study.results import Figures
from tests.benchmarks.study.example import row as made


def timed(row: str, seconds: float):
    return made(row, "latency", {"seconds": {"128": [seconds]}})


def taken(figures) -> dict[str, str]:
    rows = [one.asked["row"] for one in figures]
    return {one.scarce: one.take for one in decide(Figures(figures), rows)}


def test_decide_takes_the_fastest_and_the_fastest_good_one():
    """BERT-small has no published share of BERT-base's score, so no source calls it good enough."""
    found = taken([timed("bert-base", 3.0), timed("distilbert", 2.0), timed("bert-small", 1.0)])
    assert found["latency above all"] == "BERT-small"
    assert found["latency, and 95% of BERT-base's published score is enough"] == "DistilBERT"


def test_decide_names_all_that_are_as_good_as_the_best():
    found = taken([timed("bert-base", 1.08), timed("distilbert", 1.12), timed("bert-small", 1.0)])
    assert found["latency above all"] == "BERT-small or BERT-base"


def test_decide_chooses_nothing_where_fewer_than_two_were_measured():
    found = taken([timed("bert-base", 3.0)])
    assert found["latency above all"] == found["memory in training"] == "not run"
    assert "ModernBERT" in found.values()
