"""What may stand side by side, and what is kept of it."""

import dataclasses
import json

import pytest

from benchmarks.series import Series, read, series_of, write
from train.errors import UserError


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    value: float


def row_of(record):
    return Row(**record)


def test_what_is_written_is_read(tmp_path):
    known = [Series({"commit": "a"}, [Row("x", 1.0)]), Series({"commit": "b"}, [])]
    write(tmp_path / "new" / "one.json", known)
    assert read(tmp_path / "new" / "one.json", row_of) == known
    assert read(tmp_path / "none.json", row_of) == []


def test_a_row_takes_the_place_of_an_earlier_one():
    series = Series({}, [Row("x", 1.0), Row("y", 2.0)])
    series.put(Row("x", 3.0), lambda row: row.name)
    assert series.rows == [Row("y", 2.0), Row("x", 3.0)]


def test_other_circumstances_are_another_series_and_the_one_in_use_comes_last():
    known = [Series({"commit": "a"}, [Row("x", 1.0)])]
    other = series_of(known, {"commit": "b"})
    assert (other.rows, known[-1] is other, len(known)) == ([], True, 2)
    assert series_of(known, {"commit": "a"}).rows == [Row("x", 1.0)]
    assert [one.circumstances["commit"] for one in known] == ["b", "a"]


@pytest.mark.parametrize(
    "text", ["{", json.dumps({"groups": []}), json.dumps({"series": [{"circumstances": {}, "rows": [{"other": 1}]}]})]
)
def test_a_file_of_another_form_is_refused_and_left_alone(text, tmp_path):
    file = tmp_path / "one.json"
    file.write_text(text)
    with pytest.raises(UserError, match="give another --output"):
        read(file, row_of)
    assert file.read_text() == text
