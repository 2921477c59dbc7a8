"""Tests of JSON from elsewhere: what is refused, with which words, and that refusing costs nothing."""

import json

import pytest

from flax_lite.files.strict_json import parse_json, read_json, read_json_list

REFUSED = {
    "empty": (b"", "Expecting value"),
    "cut short": (b'{"a": ', "Expecting value"),
    "not UTF-8": (b'{"a": "\xff"}', "utf-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), r"byte order mark \(UTF-16\)"),
    "a byte order mark": (b'\xef\xbb\xbf{"a": 1}', r"byte order mark \(UTF-8\): save it as UTF-8 without one"),
    "a list": (b"[1]", "holds a list, expected an object"),
    "a number": (b"1", "holds a int"),
    "twice": (b'{"a": 1, "b": 2, "a": 3}', "key 'a' is there twice"),
    "twice below": (b'{"c": [{"a": 1, "a": 1}]}', "key 'a' is there twice"),
    "digits without end": (b'{"a": ' + b"9" * 5000 + b"}", "4300"),
    "values without end": (b'{"a": [' + b"[]," * (2**21 + 1) + b"[]]}", "holds more than 4194304 values"),
    "65 deep": (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "nested more than 64 deep"),
    "deep objects": (b'{"a": ' * 500 + b"1" + b"}" * 500, "nested more than 64 deep"),
    "deeper than the parser goes": (b'{"a": ' + b"[" * 10**6, "nested more than 64 deep"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plain_json_is_refused(name: str) -> None:
    text, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_json_is_read_as_the_library_reads_it() -> None:
    values = {"a": [1, 2.5, None, True, "é\U0001f600"], "b": {"c": {}, "d": [[]]}}
    assert parse_json(json.dumps(values).encode()) == values
    deepest = {"a": json.loads("[" * 63 + "]" * 63)}
    assert parse_json(json.dumps(deepest).encode()) == deepest


def test_file_is_named_and_a_large_one_is_not_read(tmp_path) -> None:
    file = tmp_path / "values.json"
    file.write_text("{")
    with pytest.raises(ValueError, match=r"values\.json is not valid JSON: "):
        read_json(file)
    with file.open("wb") as sparse:
        sparse.truncate(10**12)
    with pytest.raises(ValueError, match=r"values\.json has 1000000000000 bytes, expected at most 16777216"):
        read_json(file)


def test_a_link_of_its_owner_s_may_lead_anywhere(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "values.json").write_text('{"a": 1}')
    (tmp_path / "data" / "link.json").symlink_to("../values.json")
    assert read_json(tmp_path / "data" / "link.json", links_out=True) == {"a": 1}
    with pytest.raises(ValueError, match="is a link out of its directory"):
        read_json(tmp_path / "data" / "link.json")


def test_values_of_a_large_file_may_be_many(monkeypatch) -> None:
    monkeypatch.setattr("flax_lite.files.strict_json._MAX_VALUES", 4)
    long = json.dumps({"a": ["x" * 20] * 10}).encode()
    assert len(parse_json(long)["a"]) == 10
    with pytest.raises(ValueError, match="holds more than 4 values"):
        parse_json(b'{"a": [1, 1, 1, 1, 1]}')


def test_a_list_is_read_where_one_is_expected(tmp_path) -> None:
    file = tmp_path / "values.json"
    file.write_text("[1, {}]")
    assert read_json_list(file) == [1, {}]
    for text, message in (("{}", "holds a dict, expected a list"), ('[{"a": 1, "a": 2}]', "is there twice")):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_json_list(file)
