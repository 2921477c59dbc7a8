"""The predict command as a user runs it: lines in, JSON lines out."""

import csv
import functools
import io
import json

import numpy as np
import pytest

import flax_lite as fl
from flax_lite import predict
from tests.flax_lite.pipelines import cases


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {task: cases.saved(root / task, task, **cases.DEFAULTS[task]) for task in cases.HEADS}


@pytest.fixture(scope="module")
def cached_pipeline():
    """`flax_lite.pipeline`, cached by its arguments."""
    return functools.cache(fl.pipeline)


@pytest.fixture
def pipe(directories, cached_pipeline):
    """Returns the pipeline that the command creates for a task."""
    execution = fl.Execution(dtype="float32", unroll="auto")
    options = {"tokenizer": None, "execution": execution, "batch_size": cases.ROWS, "max_length": None}
    return lambda task: cached_pipeline(task, str(directories[task]), **options)


@pytest.fixture
def run(directories, cached_pipeline, monkeypatch, capsys):
    monkeypatch.setattr(predict, "pipeline", cached_pipeline)

    def run(task, *arguments, given=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        command = ["--task", task, "--model", str(directories[task]), "--batch_size", str(cases.ROWS)]
        status = predict.main([*command, *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return run


def test_lines_are_answered_in_order(run, pipe, tmp_path):
    lines = ["the cat", "", "cat " * 30, "sat\u2028a\tb"]
    files = [tmp_path / "one.txt", tmp_path / "empty.txt", tmp_path / "two.txt"]
    for file, part in zip(files, (lines[:2], [], [*lines[2:], lines[0]]), strict=True):
        file.write_text("".join(f"{line}\n" for line in part), newline="\n")
    status, found, err = run("token-classification", *files, "--chunk_size", 2)
    assert (status, err) == (0, "")
    cases.assert_same(found, [pipe("token-classification")(line) for line in (*lines, lines[0])])


def test_standard_input_is_the_default(run):
    assert (
        run("fill-mask", "--top_k", 2, given="the [MASK]\r\n[MASK]")[1]
        == run("fill-mask", "-", "--top_k", 2, given="the [MASK]\n[MASK]\n")[1]
    )
    assert run("fill-mask")[1] == []
    (one, two) = run("sentence-embedding", given="a\nthe cat\n")[1]
    assert len(one) == len(two) == 12


@pytest.mark.parametrize(
    ("task", "columns", "names"),
    [
        ("text-classification", "the cat\ta\tcat", ("text", "text_pair")),
        ("question-answering", "cat?\tthe cat sat", ("question", "context")),
    ],
)
def test_columns_are_keys(run, pipe, task, columns, names):
    record = dict(zip(names, columns.split("\t", 1), strict=True))
    (one, two) = run(task, given=f"{columns}\n{json.dumps(record)}\n")[1]
    assert one == two
    cases.assert_same(one, pipe(task)(record))


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("fill-mask", "[MASK]\nthe cat\n", "standard input, line 2: has no [MASK]: 'the cat'"),
        ("question-answering", "a\tb\n\ncat\n", "standard input, line 2: cannot be read: question-answering needs"),
        ("question-answering", "cat\t \n", "standard input, line 1: has the context ' '"),
        (
            "text-classification",
            'a\n{"text": "a", "pair": "b"}',
            "standard input, line 2: cannot be read: expected JSON",
        ),
        ("text-classification", '{"text": 3}', "standard input, line 1: cannot be read: expected JSON with strings"),
        ("text-classification", '{"text": "a"', "standard input, line 1: cannot be read:"),
        ("text-classification", '{"text_pair": "a"}', "standard input, line 1: cannot be read:"),
        *(
            (task, f"{good}\n{json.dumps(half)}\n", "standard input, line 2: holds half a surrogate pair, '\\ud83d' at")
            for task, good, half in (
                ("text-classification", "a", {"text": "so \ud83d"}),
                ("text-classification", "a", {"text": "a", "text_pair": "\ud83d so"}),
                ("question-answering", "a\ta", {"question": "a", "context": "so \ud83d"}),
                ("fill-mask", "[MASK]", {"text": "[MASK] \ud83d"}),
                ("sentence-embedding", "a", {"text": "\ud83d"}),
                ("token-classification", "a", {"text": "\ud83d"}),
            )
        ),
    ],
)
def test_invalid_inputs_are_named_by_line(run, task, given, message):
    status, answers, err = run(task, given=given)
    assert status == 2
    assert len(answers) == int(message.partition("line ")[2].partition(":")[0]) - 1
    assert err.startswith(f"predict: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("line", ["the cat", '{"text": "the cat"}', '{"text": "a \\ud83d\\ude00"}'])
def test_a_byte_order_mark_is_ignored(run, monkeypatch, tmp_path, line):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text(f"{line}\n", encoding="utf-8-sig")
    with_mark, without = run("text-classification", "~/a.txt"), run("text-classification", given=line)
    assert with_mark == without
    assert (with_mark[0], len(with_mark[1])) == (0, 1)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_lines_before_an_invalid_one_are_answered(run, tmp_path, size):
    (tmp_path / "a.txt").write_text("[MASK]\n[MASK]\n")
    (tmp_path / "b.txt").write_text("[MASK]\nthe\n")
    status, found, err = run("fill-mask", tmp_path / "a.txt", tmp_path / "b.txt", "--chunk_size", size)
    assert (status, len(found)) == (2, 3)
    assert f"{tmp_path / 'b.txt'}, line 2: has no [MASK]" in err


@pytest.mark.parametrize("size", [1, 2, 100])
def test_lines_before_an_unreadable_one_are_answered(run, tmp_path, size):
    (tmp_path / "a.txt").write_bytes(b"[MASK]\n[MASK]\n\xff[MASK]\n[MASK]\n")
    status, found, err = run("fill-mask", tmp_path / "a.txt", "--chunk_size", size)
    assert (status, len(found)) == (2, 2)
    assert f"{tmp_path / 'a.txt'}, line 3: cannot be read: 'utf-8' codec" in err


def test_other_errors_are_one_line(run, directories, capsys, tmp_path):
    for status, _, err in (
        run("fill-mask", tmp_path / "missing.txt"),
        run("fill-mask", "--pooling", "mean"),
        run("fill-mask", "--batch_size", 0),
    ):
        assert status == 2
        assert err.startswith("predict: ")
        assert err.count("\n") == 1
    assert predict.main(["--task", "fill-mask", "--model", str(directories["question-answering"])]) == 2
    assert "cannot be used for fill-mask" in capsys.readouterr().err


def test_an_option_of_another_task_is_an_error_that_lists_the_options(run):
    status, found, err = run("token-classification", "--top_k", 2, given="a\n")
    assert (status, found) == (2, [])
    message = (
        "predict: token-classification takes no top_k here: there is no top_k. A call takes aggregation_strategy, "
    )
    assert err.startswith(message)


def test_a_line_with_results_that_are_not_finite_is_named(run, pipe, monkeypatch):
    """NaN, which JSON does not have, is never written; lines before it are answered."""
    one = pipe("text-classification")
    expected = one(["the cat"])

    def with_nan(rows, sizes, programs=one._programs):
        for number, outputs in programs(rows, sizes):
            noise = np.nan if len(rows[number].tokens) == 3 else 0
            yield number, {"logits": outputs["logits"] + noise}

    monkeypatch.setattr(one, "_programs", with_nan)
    status, found, err = run("text-classification", given="the cat\ncat\nthe cat\n")
    assert (status, found) == (2, expected)
    assert err.startswith("predict: standard input, line 2: has results in float32 that are not finite")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text('key;stars;review\n"a;1";3;the cat\nb;4;"so; ""sat""\na cat"\nc;1;\n')
    return path


def test_a_table_is_answered_with_ids_texts_and_all_scores(run, pipe, table, tmp_path):
    command = ("--text_column", "review", "--id_column", "key", "--all_scores")
    texts = ["the cat", 'so; "sat"\na cat', ""]
    answers = pipe("text-classification")(texts, top_k=None)
    expected = [
        {"id": key, "text": text, **answer[0], "scores": {each: _score(answer, each) for each in cases.LABELS}}
        for key, text, answer in zip(("a;1", "b", "c"), texts, answers, strict=True)
    ]
    assert run("text-classification", table, *command) == (0, expected, "")
    for ending, delimiter in ((".csv", ","), (".tsv", "\t")):
        output = tmp_path / f"scores{ending}"
        assert run("text-classification", table, *command, "--output", output) == (0, [], "")
        with output.open(newline="") as file:
            header, *rows = csv.reader(file, delimiter=delimiter)
        assert header == ["id", "text", "label", "score", "score_bad", "score_fair", "score_good"]
        assert [row[:3] for row in rows] == [[e["id"], e["text"], e["label"]] for e in expected]
        assert [list(map(float, row[3:])) for row in rows] == [[e["score"], *e["scores"].values()] for e in expected]
    output = tmp_path / "scores.jsonl"
    assert run("text-classification", table, *command, "--output", output)[0] == 0
    assert [json.loads(line) for line in output.read_text().splitlines()] == expected


def _score(answer, label):
    return next(each["score"] for each in answer if each["label"] == label)


def test_tables_without_further_options_have_the_keys_as_columns(run, pipe, tmp_path):
    rows = [{"question": "cat?", "context": "the cat sat"}, {"question": "sat?", "context": "a cat"}]
    lines = ("context\tquestion", *(f"{row['context']}\t{row['question']}" for row in rows))
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({**row, "more": 1}) + "\n" for row in rows))
    expected = pipe("question-answering")(rows)
    status, found, err = run("question-answering", tmp_path / "a.tsv", tmp_path / "a.jsonl", "--chunk_size", 1)
    assert (status, err) == (0, "")
    # A chunk of one row runs another program than two rows, with other rounding.
    assert found == [{**each, "score": pytest.approx(each["score"], rel=1e-6)} for each in (*expected, *expected)]
    output = tmp_path / "b.csv"
    assert run("sentence-embedding", "--output", output, given="the cat\n")[0] == 0
    with output.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["id"], row["text"], len(json.loads(row["result"]))) == ("0", "the cat", 12)


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("text-classification", ["reviews.csv"], "reviews.csv, line 2: has no column 'text'; it has 'key', 'stars'"),
        (
            "fill-mask",
            ["reviews.csv", "--text_column", "reveiw"],
            "line 2: has no column 'reveiw', nearest is 'review'",
        ),
        ("fill-mask", ["reviews.csv", "--text_column", "review"], "reviews.csv, line 2: has no [MASK]: 'the cat'"),
        ("fill-mask", ["reviews.csv", "--text_pair_column", "stars"], "predict: fill-mask takes a single text"),
        ("fill-mask", ["lines.txt", "--text_column", "review"], "column 'review' is given, but lines.txt holds lines"),
        ("fill-mask", ["bad.csv"], "predict: bad.csv, line 3 has 2 field(s), expected 1: text"),
        ("fill-mask", ["number.jsonl"], "number.jsonl, line 1: has 3 in column 'text', expected a text"),
        ("fill-mask", ["empty.csv"], "predict: empty.csv holds no row"),
        ("fill-mask", ["missing.csv"], "predict: missing.csv cannot be read"),
        ("fill-mask", ["lines.txt", "--all_scores"], "--all_scores is for text-classification"),
        ("fill-mask", ["lines.txt", "--output", "out.xlsx"], "--output out.xlsx: expected a file with the ending .csv"),
        ("fill-mask", ["number.jsonl", "--output", "number.jsonl"], "--output number.jsonl is also read"),
        ("fill-mask", ["lines.txt", "--output", "none/out.csv"], "none/out.csv"),
    ],
)
def test_mistakes_with_tables_are_one_line(run, table, monkeypatch, task, arguments, message):
    monkeypatch.chdir(table.parent)
    for name, text in {
        "lines.txt": "[MASK]\n",
        "bad.csv": 'text\n"[MASK]"\n[MASK],b\n',
        "number.jsonl": '{"text": 3}\n',
        "empty.csv": "",
    }.items():
        (table.parent / name).write_text(text)
    status, found, err = run(task, *arguments)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert len(found) == (arguments == ["bad.csv"])
