"""Option tables: types, ranges, defaults, names."""

import pytest

from tests.train.commands import TABLES
from train import evaluate
from train.errors import UserError
from train.options import schema, tables
from train.options.schema import REQUIRED, Option

TABLE = (
    Option("seed", "fixed", int, REQUIRED, "a seed", at_least=0),
    Option("model.width", "fixed", int | None, None, "a width"),
    Option("model.act", "fixed", str, "gelu", "an activation", choices=("gelu", "relu")),
    Option("run.plot", "free", bool, True, "draw"),
    Option("run.rate", "free", float, 0.5, "a rate"),
    Option("run.unroll", "free", int, "auto", "layers per iteration", words=("auto",), at_least=0),
    Option("data.mixture", "fixed", tuple, (), "sources", is_path=True),
    Option("data.labels", "fixed", schema.NAMES, ("a",), "labels"),
    Option("data.source", "fixed", str, "builtin", "a source", is_path=True),
)
OPTION = {option.path: option for option in TABLE}
VALUES = {
    "seed": 1,
    "model": {"width": None, "act": "gelu"},
    "run": {"plot": True, "rate": 0.5, "unroll": "auto"},
    "data": {"mixture": (), "labels": ("a",), "source": "builtin"},
}


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("seed", "3", 3),
        ("seed", "1e6", 1_000_000),
        ("seed", "1_000", 1000),
        ("model.width", "none", None),
        ("model.width", "64", 64),
        ("model.act", "relu", "relu"),
        ("run.plot", "False", False),
        ("run.plot", "1", True),
        ("run.rate", "1e-3", 0.001),
        ("run.rate", "2", 2.0),
        ("run.unroll", "0", 0),
        ("run.unroll", "auto", "auto"),
        ("run.unroll", "none", "auto"),
        ("data.mixture", "(('a', 0.8), ('b', 0.2))", (("a", 0.8), ("b", 0.2))),
        ("data.mixture", "(('text:~/a', 0.8), ('builtin', 0.2))", (("text:/home/me/a", 0.8), ("builtin", 0.2))),
        ("data.labels", "a,b", ("a", "b")),
        ("data.labels", "b, a b", ("b", "a b")),
        ("data.labels", "0,1", ("0", "1")),
        ("data.labels", "alone", ("alone",)),
        ("data.labels", "('a, b', 'c')", ("a, b", "c")),
        ("data.labels", "(0, 1)", ("0", "1")),
        ("data.labels", "['a']", ("a",)),
        ("data.labels", "", ()),
        ("data.labels", "()", ()),
        ("data.source", "~/x", "/home/me/x"),
        ("data.source", "~", "/home/me"),
        ("data.source", "files:~/x y", "files:/home/me/x y"),
        ("data.source", "text:~/*.txt", "text:/home/me/*.txt"),
        ("data.source", "~/runs/a@best", "/home/me/runs/a@best"),
        ("data.source", "files:/tmp/~/x", "files:/tmp/~/x"),
        ("data.source", "owner/name", "owner/name"),
    ],
)
def test_parse_reads_every_type(monkeypatch, path, text, value):
    monkeypatch.setenv("HOME", "/home/me")
    parsed = schema.parse(OPTION[path], text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("seed", "abc", "a whole number"),
        ("seed", "1.5", "a whole number"),
        ("seed", "inf", "a whole number"),
        ("seed", "-1", "at least 0"),
        ("seed", "none", "cannot be none"),
        ("model.act", "tanh", r"gelu \| relu"),
        ("run.plot", "perhaps", "true or false"),
        ("run.rate", "fast", "a number"),
        ("run.unroll", "all", r"auto \| a whole number"),
        ("run.unroll", "-1", "at least 0"),
        ("data.mixture", "3", "a tuple"),
        ("data.labels", "a,,b", "names, as a,b"),
        ("data.labels", "(1+)", "names, as a,b"),
        ("data.mixture", "__import__('os')", "a tuple"),
    ],
)
def test_parse_says_what_was_expected(path, text, message):
    with pytest.raises(ValueError, match=message):
        schema.parse(OPTION[path], text)


def test_lower_bounds_are_inclusive_or_exclusive():
    least, above = (Option("x", "free", float, 1.0, "a number", **bound) for bound in ({"at_least": 0}, {"above": 0}))
    assert schema.parse(least, "0") == 0.0
    assert schema.parse(above, "0.1") == 0.1
    for text in ("0", "-1", "nan"):
        with pytest.raises(ValueError, match="expected more than 0"):
            schema.parse(above, text)


def test_validate_fills_in_the_defaults():
    assert schema.validate(TABLE, {"seed": 1, "model": {}, "answers": {}}, "x.py") == schema.flatten(VALUES)
    assert schema.validate(TABLE, {"seed": 1, "run": {"unroll": None}}, "x.py")["run.unroll"] == "auto"


def test_validate_names_every_fault_at_once():
    values = {"seeds": 1, "model": {"width": "wide", "act": "gelu"}, "run": {"plot": 1, "rate": 1}}
    with pytest.raises(UserError) as caught:
        schema.validate(TABLE, values, "x.py")
    for part in ("x.py", "seeds is not an option, nearest is seed", "seed is missing", "model.width", "run.plot"):
        assert part in str(caught.value)
    assert "run.rate" not in str(caught.value)


def test_nest_undoes_flatten():
    assert schema.nest(schema.flatten(VALUES)) == VALUES


def test_differences_are_those_of_fixed_options():
    old = schema.flatten(VALUES)
    new = old | {"seed": 2, "run.plot": False, "data.mixture": (("a", 1),)}
    assert schema.differences(TABLE, old, new) == {"seed": (1, 2), "data.mixture": ((), (("a", 1),))}
    assert not schema.differences(TABLE, {**old, "data.mixture": [["a", 1]]}, {**old, "data.mixture": (("a", 1),)})
    del old["seed"]  # an option that a later version added
    assert not schema.differences(TABLE, old, {**new, "data.mixture": ()})


def test_an_implied_option_that_a_work_directory_lacks_was_none():
    table = (Option("late", "fixed", str | None, None, "added later", implied=True),)
    assert schema.differences(table, {}, {"late": "x"}) == {"late": (None, "x")}
    assert not schema.differences(table, {}, {"late": None})


@pytest.mark.parametrize(
    ("given", "found"),
    [("sed", "seed"), ("width", "model.width"), ("modl.width", "model.width"), ("run.rte", "run.rate"), ("zzz", "")],
)
def test_nearest_finds_misspelled_and_ungrouped_names(given, found):
    assert schema.nearest(given, OPTION) == (f", nearest is {found}" if found else "")


def test_nearest_knows_abbreviations():
    names = ["optimizer.b1", "optimizer.learning_rate", "optimizer.name"]
    assert schema.nearest("optimizer.n", names) == ", nearest is optimizer.name"


@pytest.mark.parametrize("name", schema.TRAINER_NAMES)
def test_names_of_hugging_face_are_answered_with_an_option(name):
    option = schema.TRAINER_NAMES[name]
    known = {f"config.{each.path}" for table in TABLES.values() for each in table} | {"workdir"}
    expected = option if option in known else f"config.{option}"
    assert expected in known
    for given in (name, f"config.{name}", f"config.optimizer.{name}"):
        assert schema.nearest(given, known) == f", which is {expected} here"


@pytest.mark.parametrize("table", tables.JOB_OPTIONS.values())
def test_tables_declare_each_option_once(table):
    paths = [option.path for option in table]
    assert len(paths) == len(set(paths))
    assert all(option.on_resume in ("fixed", "free") and option.doc for option in table)


@pytest.mark.parametrize("table", TABLES)
def test_defaults_are_values_of_their_options(table):
    for option in TABLES[table]:
        assert option.default is REQUIRED or schema.check(option, option.default) == option.default, option.path
    required = {option.path for option in TABLES[table] if option.default is REQUIRED}
    assert required - {"task"} == {"batch_size", "total_steps", "optimizer.learning_rate"}


PATHS = (
    *("init_from", "tokenizer", "teacher", "compilation_cache", "checkpoint", "predictions"),
    *("data.source", "data.mixture", "data.eval_source", "data.test_source", "data.tfds_dir", "data.cache_dir"),
)


@pytest.mark.parametrize("table", TABLES)
def test_every_path_may_start_with_the_home_directory(table):
    tables = (*TABLES[table], *evaluate.EVALUATE_OPTIONS.get(table, ()))
    assert {option.path for option in tables if option.is_path} == {
        option.path for option in tables if option.path in PATHS
    }


@pytest.mark.parametrize("value", [("a", ""), ("a", 3), "a", 3])
def test_names_of_a_config_are_strings(value):
    with pytest.raises(ValueError, match="expected names"):
        schema.check(OPTION["data.labels"], value)
    assert schema.check(OPTION["data.labels"], ["a", "b"]) == ("a", "b")
