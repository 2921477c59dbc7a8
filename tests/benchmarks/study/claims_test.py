"""Verdicts on both sides of the tolerance, and without a measurement."""

import pytest

from benchmarks.study.claims import CLAIMS, NOT_REPRODUCED, NOT_RUN, REPRODUCED, judge
from benchmarks.study.results import Figures
from tests.benchmarks.study.example import row as made


def pass_of(row: str, seconds: float):
    return made(row, "pass", {"cold": 9.0, "warm": [seconds]})


def size_of(row: str, count: float):
    return made(row, "size", {"parameters": count})


def trained(row: str, seconds: float):
    return made(row, "training", {"seconds": [seconds], "tokens": 100})


def scored(row: str, spearman: float):
    return made(row, "quality", {"spearman": spearman})


def verdict(words: str, *rows):
    (found,) = [one for one in judge(Figures(rows)) if words in one.claim.text]
    return found.verdict


@pytest.mark.parametrize(
    ("words", "rows", "expected"),
    [
        ("60% faster", [pass_of("bert-base", 1.63), pass_of("distilbert", 1.0)], REPRODUCED),
        ("60% faster", [pass_of("bert-base", 1.54), pass_of("distilbert", 1.0)], REPRODUCED),
        ("60% faster", [pass_of("bert-base", 1.53), pass_of("distilbert", 1.0)], NOT_REPRODUCED),
        ("60% faster", [pass_of("bert-base", 2.5), pass_of("distilbert", 1.0)], REPRODUCED),
        ("60% faster", [pass_of("bert-base", 2.5)], NOT_RUN),
        ("40% fewer", [size_of("bert-base", 100), size_of("distilbert", 60)], REPRODUCED),
        ("40% fewer", [size_of("bert-base", 100), size_of("distilbert", 65)], NOT_REPRODUCED),
        ("40% fewer", [size_of("bert-base", 100), size_of("distilbert", 55)], NOT_REPRODUCED),
        ("9 x fewer", [size_of("bert-base", 9.8), size_of("albert-base", 1)], REPRODUCED),
        ("9 x fewer", [size_of("bert-base", 10), size_of("albert-base", 1)], NOT_REPRODUCED),
        ("207 MB", [made("distilbert", "disk", {"bytes": 207e6})], REPRODUCED),
        ("207 MB", [made("distilbert", "disk", {"bytes": 268e6})], NOT_REPRODUCED),
        ("1.19 x", [trained("albert-base", 1.0), trained("bert-base", 1.19)], REPRODUCED),
        ("1.19 x", [trained("albert-base", 1.0), trained("bert-base", 1.11)], NOT_REPRODUCED),
        ("86.9 against", [scored("bert-base", 89.0), scored("distilbert", 86.9)], REPRODUCED),
        ("86.9 against", [scored("bert-base", 89.0), scored("distilbert", 80.0)], NOT_REPRODUCED),
    ],
)
def test_judge_compares_with_the_stated_tolerance(words, rows, expected):
    assert verdict(words, *rows) == expected


def test_judge_calls_everything_not_run_without_measurements():
    assert {one.verdict for one in judge(Figures([]))} == {NOT_RUN}
    assert all(one.measured == "" for one in judge(Figures([])))


def test_judge_takes_no_figure_from_a_measurement_that_failed():
    failed = made("distilbert", "pass", "failed: out of memory")
    assert verdict("60% faster", pass_of("bert-base", 2.0), failed) == NOT_RUN


def test_claims_state_a_rule_with_each_figure_and_what_a_missing_one_takes():
    assert {claim.paper[:4] for claim in CLAIMS} == {"Dist", "ALBE"}
    for claim in CLAIMS:
        assert (claim.claimed is None) == (claim.rule is None)
        assert claim.claimed is not None or claim.needs
