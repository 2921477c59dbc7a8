"""Tests of settings tables: refused keys are named, inert ones accepted, unknown ones named in one warning."""

import pytest

from flax_lite.files.settings import check_settings, inert, refused, used

_TABLE = (
    used("size") | inert("name") | refused("mode", "heads", why="it turns") | refused("kind", why="x", unless=("a",))
)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"mode": True}, ["mode=True: it turns"]),
        ({"mode": 1}, ["mode=1"]),
        ({"mode": "x", "heads": {"0": [1]}}, ["mode='x'", "heads={'0': [1]}"]),
        ({"kind": None}, ["kind=None"]),
        ({"mode": "y" * 1000}, ["..."]),
    ],
)
def test_error_names_refused_keys(values, named):
    with pytest.raises(ValueError, match=r"^config\.json says ") as error:
        check_settings(values, _TABLE, "config.json")
    assert all(each in str(error.value) for each in named)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("off", [None, False, 0, "", [], {}])
def test_a_refused_key_with_a_harmless_value_is_accepted(off, caplog):
    check_settings({"mode": off, "size": 3, "name": "x", "kind": "a"}, _TABLE, "a file")
    assert not caplog.records


def test_unknown_keys_are_named_once(caplog, tmp_path):
    values = {"size": 1, "new": 2, "\x1b[2J\ud800": 3} | {f"k{number}": number for number in range(20)}
    for _ in range(2):
        check_settings(values, _TABLE, str(tmp_path))
    (record,) = caplog.records
    assert "new, \\x1b[2J\\ud800, k0" in record.getMessage()
    assert "and 12 more" in record.getMessage()
