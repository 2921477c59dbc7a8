"""Tests of the strict JSON reader: refused inputs, their messages, and limits on memory."""

import json

import pytest

from flax_lite.files.strict_json import parse_json, read_json, read_json_list

REFUSED = {
    "empty": (b"", "Expecting value"),
    "truncated": (b'{"a": ', "Expecting value"),
    "not UTF-8": (b'{"a": "\xff"}', "utf-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), r"byte order mark \(UTF-16\)"),
    "a byte order mark": (b'\xef\xbb\xbf{"a": 1}', r"byte order mark \(UTF-8\): save it as UTF-8 without one"),
    "a list": (b"[1]", "holds a list, expected an object"),
    "a number": (b"1", "holds a int"),
    "duplicate key": (b'{"a": 1, "b": 2, "a": 3}', "key 'a' occurs twice"),
    "nested duplicate key": (b'{"c": [{"a": 1, "a": 1}]}', "key 'a' occurs twice"),
    "too many digits": (b'{"a": ' + b"9" * 5000 + b"}", "4300"),
    "too many values": (b'{"a": [' + b"[]," * (2**21 + 1) + b"[]]}", "holds more than 4194304 values"),
    "65 deep": (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "nested more than 64 deep"),
    "deep objects": (b'{"a": ' * 500 + b"1" + b"}" * 500, "nested more than 64 deep"),
    "deeper than the recursion limit": (b'{"a": ' + b"[" * 10**6, "nested more than 64 deep"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_json_is_refused(name: str) -> None:
    text, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_valid_json_is_read_as_by_the_standard_library() -> None:
    values = {"a": [1, 2.5, None, True, "é\U0001f600"], "b": {"c": {}, "d": [[]]}}
    assert parse_json(json.dumps(values).encode()) == values
    deepest = {"a": json.loads("[" * 63 + "]" * 63)}
    assert parse_json(json.dumps(deepest).encode()) == deepest


def test_error_names_the_file_and_a_large_file_is_not_read(tmp_path) -> None:
    file = tmp_path / "values.json"
    file.write_text("{")
    with pytest.raises(ValueError, match=r"values\.json is not valid JSON: "):
        read_json(file)
    with file.open("wb") as sparse:
        sparse.truncate(10**12)
    with pytest.raises(ValueError, match=r"values\.json has 1000000000000 bytes, expected at most 16777216"):
        read_json(file)


def test_links_out_allows_a_link_to_any_file(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "values.json").write_text('{"a": 1}')
    (tmp_path / "data" / "link.json").symlink_to("../values.json")
    assert read_json(tmp_path / "data" / "link.json", links_out=True) == {"a": 1}
    with pytest.raises(ValueError, match="is a link out of its directory"):
        read_json(tmp_path / "data" / "link.json")


def test_limit_on_values_grows_with_the_file(monkeypatch) -> None:
    monkeypatch.setattr("flax_lite.files.strict_json._MAX_VALUES", 4)
    long = json.dumps({"a": ["x" * 20] * 10}).encode()
    assert len(parse_json(long)["a"]) == 10
    with pytest.raises(ValueError, match="holds more than 4 values"):
        parse_json(b'{"a": [1, 1, 1, 1, 1]}')


def test_read_json_list_accepts_only_a_list(tmp_path) -> None:
    file = tmp_path / "values.json"
    file.write_text("[1, {}]")
    assert read_json_list(file) == [1, {}]
    for text, message in (("{}", "holds a dict, expected a list"), ('[{"a": 1, "a": 2}]', "occurs twice")):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_json_list(file)
