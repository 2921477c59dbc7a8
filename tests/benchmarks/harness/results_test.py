"""Series of comparable rows, and the file that keeps them."""

import dataclasses
import json
from typing import NamedTuple

import pytest

from benchmarks.harness import results
from benchmarks.harness.results import Results, decode
from train.errors import UserError


class Pair(NamedTuple):
    first: float
    second: float


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    size: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    pairs: list[Pair]
    best: Pair | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row(results.Row):
    case: Case
    outcome: Numbers | str


GOOD = Row(case=Case("x"), started="now", load_before=0.5, outcome=Numbers(pairs=[Pair(1.0, 2.0)], best=Pair(0.0, 1.0)))
FAILED = Row(case=Case("y", 3), outcome="out of memory")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "new" / "one.json"


def test_rows_are_read_as_they_were_written(file):
    known = Results(file, Row).select({"commit": "a"})
    known.put(GOOD)
    known.put(FAILED)
    (series,) = Results(file, Row).series
    assert series == known.current
    assert series.rows == [GOOD, FAILED]
    assert series.measured == {GOOD.case: GOOD.outcome}
    assert FAILED.failed


def test_a_row_replaces_an_earlier_row_of_its_case(file):
    known = Results(file, Row).select({})
    again = dataclasses.replace(GOOD, outcome="failed")
    for row in (GOOD, FAILED, again):
        known.put(row)
    assert known.current.rows == [FAILED, again]


def test_other_circumstances_are_another_series_and_the_selected_one_is_last(file):
    known = Results(file, Row).select({"commit": "a"})
    known.put(GOOD)
    assert known.select({"commit": "b"}).current.rows == []
    assert known.select({"commit": "a"}).current.rows == [GOOD]
    assert [one.circumstances["commit"] for one in known.series] == ["b", "a"]


@pytest.mark.parametrize(
    "text", ["{", json.dumps({"groups": []}), json.dumps({"series": [{"circumstances": {}, "rows": [{"other": 1}]}]})]
)
def test_a_file_of_another_form_is_refused_and_left_alone(text, tmp_path):
    file = tmp_path / "one.json"
    file.write_text(text)
    with pytest.raises(UserError, match="give another --output"):
        Results(file, Row)
    assert file.read_text() == text


def test_an_older_form_is_converted(tmp_path):
    (tmp_path / "one.json").write_text('{"rows": [{"case": {"name": "x"}, "outcome": "failed"}]}')
    known = Results(tmp_path / "one.json", Row, lambda record: {"series": [{"circumstances": {}, **record}]})
    assert known.current.rows == [Row(case=Case("x"), outcome="failed")]


@pytest.mark.parametrize(("hint", "record"), [(Pair, [1.0]), (Case, {"name": "x", "other": 1}), (list[Pair], [[1]])])
def test_decode_refuses_missing_and_unknown_fields(hint, record):
    with pytest.raises((TypeError, KeyError, ValueError)):
        decode(hint, record)
