"""Classification data of the user: formats, labels, splits and error messages."""

import csv
import json
from collections import Counter

import pytest

from train.data.sources.corpus import hash_share
from train.errors import UserError
from train.tasks.readers.classify import Columns, read_classify
from train.tasks.readers.label_names import KnownLabels


def save(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


TSV = "text\tlabel\na\tpos\nb\tneg\nc\tpos\n"


def test_movie_reviews_without_a_header(shared_data):
    folder = shared_data / "tasks" / "MR"
    columns = Columns(header=("label", "text"))
    data = read_classify(folder / "train.tsv", evaluation=folder / "dev.tsv", columns=columns)
    assert data.labels == ("0", "1")
    for name, examples in {"train": data.train, "dev": data.evaluation["dev"]}.items():
        lines = [line.split("\t") for line in (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines()]
        assert [(data.labels[e.label], *e.texts) for e in examples] == [(label, text) for label, text in lines]


def test_formats_give_the_same_task(tmp_path):
    files = [
        save(tmp_path, "a.tsv", "text\tpair\tlabel\ta\nx\tu\t10\t-\ny\tv\t9\t-\n"),
        save(tmp_path, "a.csv", 'a,label,text,pair\r\n-,10,"x",u\r\n-,9,y,v\r\n'),
        save(tmp_path, "a.jsonl", '{"text":"x","pair":"u","label":10}\n{"text":"y","pair":"v","label":9}\n'),
    ]
    tasks = [read_classify(path, evaluation=path, columns=Columns(text_pair="pair")) for path in files]
    assert tasks[0] == tasks[1] == tasks[2]
    assert tasks[0].labels == ("9", "10")  # by value
    assert [(e.id, e.texts, e.label) for e in tasks[0].train] == [("0", ("x", "u"), 1), ("1", ("y", "v"), 0)]


def test_given_labels_keep_their_order(tmp_path):
    path = save(tmp_path, "a.tsv", TSV)
    assert read_classify(path, evaluation=path).labels == ("neg", "pos")
    data = read_classify(path, evaluation=path, labels=["pos", "neutral", "neg"])
    assert (data.labels, [e.label for e in data.train]) == (("pos", "neutral", "neg"), [0, 2, 0])


def test_several_labels_are_lists_or_separated_names(tmp_path):
    rows = [["red", "blue"], [], ["green"]]
    lines = save(tmp_path, "a.jsonl", "".join(json.dumps({"text": "x", "label": row}) + "\n" for row in rows))
    table = save(tmp_path, "a.tsv", "text\tlabel\n" + "".join(f"x\t{'; '.join(row)}\n" for row in rows))
    expected = [(1.0, 0.0, 1.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0)]
    for path in (lines, table):
        data = read_classify(path, evaluation=path, problem="multi_label", columns=Columns(separator=";"))
        assert data.labels == ("blue", "green", "red")
        assert [e.label for e in data.train] == expected


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['joy', 'love']", {"joy", "love"}),
        ("['joy']", {"joy"}),
        ('["joy", "it\'s, love"]', {"joy", "it's, love"}),
        ("('joy', 'love')", {"joy", "love"}),
        ("{'love', 'joy'}", {"joy", "love"}),
        ("[1, 20]", {"1", "20"}),
        ("[]", set()),
        ("", set()),
        ("joy, love", {"joy", "love"}),
        ("joy,,", {"joy"}),
        ("(joy),[x", {"(joy)", "[x"}),
    ],
)
def test_lists_in_the_notation_of_pandas_are_parsed(tmp_path, cell, labels):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], ["x", cell], ["y", "other"], ["z", "another"]])
    data = read_classify(path, evaluation=path, problem="multi_label")
    assert {name for name, holds in zip(data.labels, data.train[0].label, strict=True) if holds} == labels


@pytest.mark.parametrize(
    ("name", "cell", "problem", "words"),
    [
        ("a.tsv", "['joy' 'love']", "multi_label", "looks like a list but cannot be read as one"),
        ("a.tsv", "[joy, love]", "multi_label", "looks like a list but cannot be read as one"),
        ("a.tsv", "['joy', nan]", "multi_label", "looks like a list but cannot be read as one"),
        ("a.tsv", "[None]", "multi_label", "has None in its list, expected a label"),
        ("a.tsv", "[0, 1, 1]", "multi_label", "has a 0 or 1 for each label"),
        (
            "a.tsv",
            "['joy', 'love']",
            "single_label",
            "expected one label. For several labels per text, give data.problem",
        ),
        ("a.tsv", "['joy']", "single_label", "expected one label"),
        ("a.tsv", "[1, 2]", "single_label", "expected one label"),
        ("a.jsonl", ["joy", None], "multi_label", "has None in its list"),
        ("a.jsonl", [["joy"]], "multi_label", "has ['joy'] in its list"),
        ("a.jsonl", float("nan"), "multi_label", "holds nan, expected a list"),
        ("a.jsonl", float("nan"), "single_label", "is empty"),
        ("a.jsonl", "['joy']", "single_label", "expected one label"),
    ],
)
def test_malformed_lists_raise(tmp_path, name, cell, problem, words):
    row = f"text\tlabel\nx\t{cell}\n" if name.endswith("tsv") else json.dumps({"text": "x", "label": cell})
    path = save(tmp_path, name, row)
    with pytest.raises(UserError) as caught:
        read_classify(path, evaluation=path, problem=problem)
    assert words in str(caught.value)


def test_a_label_in_brackets_is_not_a_list(tmp_path):
    path = save(tmp_path, "a.tsv", "text\tlabel\nx\t[NEG]\ny\t(other)\n")
    assert read_classify(path, evaluation=path).labels == ("(other)", "[NEG]")


KNOWN = ("neutral", "pos", "neg")
UNNAMED = ("LABEL_0", "LABEL_1", "LABEL_2")


@pytest.mark.parametrize(
    ("written", "known", "labels", "indices"),
    [
        (["pos", "neg"], KNOWN, KNOWN, [1, 2]),
        (["pos", "pos"], KNOWN, KNOWN, [1, 1]),
        (["pos", "neg", "neutral"], KNOWN, KNOWN, [1, 2, 0]),
        (["pos", "negative"], KNOWN, ("negative", "pos"), [1, 0]),
        (["Pos", "NEG"], KNOWN, ("neutral", "Pos", "NEG"), [1, 2]),
        (["pos", "POS"], KNOWN, ("POS", "pos"), [1, 0]),
        (["a", "b"], ("A", "a", "b"), ("A", "a", "b"), [1, 2]),
        (["a", "B"], ("A", "a", "b"), ("B", "a"), [1, 0]),
        (["2", "0"], UNNAMED, ("0", "1", "2"), [2, 0]),
        (["3", "0"], UNNAMED, ("0", "3"), [1, 0]),
        (["b", "a"], UNNAMED, ("a", "b"), [1, 0]),
    ],
)
def test_labels_are_those_of_the_model(tmp_path, written, known, labels, indices):
    path = save(tmp_path, "a.tsv", "text\tlabel\n" + "".join(f"x\t{name}\n" for name in written))
    data = read_classify(path, evaluation=path, known=KnownLabels(known, "model"))
    assert (data.labels, [e.label for e in data.train]) == (labels, indices)


def test_a_label_of_the_model_may_occur_in_the_evaluation_file_only(tmp_path):
    path, dev = save(tmp_path, "a.tsv", TSV), save(tmp_path, "dev.tsv", TSV + "d\tneutral\n")
    known = KnownLabels(KNOWN, "model")
    data = read_classify(path, evaluation=dev, known=known)
    assert data.evaluation["dev"][-1].label == 0
    assert data.notes == (f"{path} has no example of neutral, which model has as labels",)
    dev.write_text(TSV + "d\tbad\n")
    with pytest.raises(UserError, match=r"dev\.tsv, line 5: unknown label 'bad'.* The labels of model are: neutral"):
        read_classify(path, evaluation=dev, known=known)


def test_all_invalid_rows_are_one_error(tmp_path):
    path = save(tmp_path, "a.tsv", TSV + "x\t\n" * 3 + "y\tpos\n" + "x\t\n" * 20)
    with pytest.raises(UserError) as caught:
        read_classify(path, evaluation=path)
    first, *shown, more, cure = str(caught.value).splitlines()
    assert (first, more, cure) == ("23 errors:", "  and 13 more", "  data.skip_invalid_rows=true drops such rows")
    assert [f"line {number}:" in line for number, line in zip((5, 6, 7, 9), shown, strict=False)] == [True] * 4
    assert len(shown) == 10


def test_one_error_lists_rows_with_wrong_fields_texts_and_labels(tmp_path):
    path = save(tmp_path, "a.csv", "text,label\na,pos\nb,neg,c\n ,pos\nd,\n")
    with pytest.raises(UserError) as caught:
        read_classify(path, evaluation=path)
    first, *shown, cure = str(caught.value).splitlines()
    assert (first, cure) == ("3 errors:", "  data.skip_invalid_rows=true drops such rows")
    for line, part in zip(shown, ("line 3 has 3 field", "line 4: the text in", "line 5: the label in"), strict=True):
        assert part in line


def test_invalid_rows_can_be_skipped_and_are_counted(tmp_path):
    path = save(tmp_path, "a.csv", "text,label\na,pos\nb,neg,c\n ,pos\nd,\ne,neg\n")
    held_out = save(tmp_path, "b.jsonl", '{"text": "a", "label": "pos"}\n{"text": "b", "label": "new"}\n{"text": \n')
    data = read_classify(path, evaluation=held_out, skip_invalid=True)
    assert [(e.id, e.texts[0], e.label) for e in data.train] == [("0", "a", 1), ("3", "e", 0)]
    assert [e.texts[0] for e in data.evaluation["dev"]] == ["a"]
    assert [note.partition("skipped.")[0] for note in data.notes] == [
        f"{path}: 3 of 5 rows cannot be read: ",
        f"{held_out}: 2 of 3 rows cannot be read: ",
    ]
    only_bad = save(tmp_path, "c.csv", "text,label\n ,pos\nb,\n")
    with pytest.raises(UserError, match="2 errors:"):
        read_classify(path, evaluation=only_bad, skip_invalid=True)


def test_numbers_are_regression(tmp_path):
    path = save(tmp_path, "a.csv", "text,score\nx,-1.5\ny,2e3\n")
    data = read_classify(path, evaluation=path, problem="regression", columns=Columns(label="score"))
    assert (data.labels, [e.label for e in data.train]) == (("score",), [-1.5, 2000.0])


def test_a_share_is_held_out_by_text(tmp_path):
    texts = [f"text {n % 300}" for n in range(600)]
    path = save(tmp_path, "a.tsv", "text\tlabel\n" + "".join(f"{text}\t{n % 2}\n" for n, text in enumerate(texts)))
    data = read_classify(path, evaluation_fraction=0.2)
    held = [e.texts for e in data.evaluation["dev"]]
    learned = [e.texts for e in data.train]
    assert Counter(held + learned) == Counter((text,) for text in texts)
    assert not set(held) & set(learned)
    assert all(hash_share(found) < 0.2 for found in held)
    assert 60 < len(held) < 180


def test_a_test_file_needs_no_labels(tmp_path):
    path = save(tmp_path, "a.tsv", TSV)
    bare = save(tmp_path, "test.tsv", "id\ttext\nq7\tz\n")
    some = save(tmp_path, "some.tsv", "id\ttext\tlabel\nq7\tz\tneg\nq8\tz\t\n")
    assert [e.label for e in read_classify(path, evaluation=path, test=bare).test["test"]] == [None]
    assert [e.label for e in read_classify(path, evaluation=path, test=some).test["test"]] == [0, None]
    unknown = save(tmp_path, "unknown.tsv", "text\tlabel\nz\t-1\nz\tneg\n")
    assert [e.label for e in read_classify(path, evaluation=path, test=unknown).test["test"]] == [None, 0]
    numbers = save(tmp_path, "numbers.tsv", "text\tlabel\nx\t-1\ny\t1\n")
    assert [e.label for e in read_classify(numbers, evaluation=numbers, test=numbers).test["test"]] == [0, 1]
    with_ids = save(tmp_path, "ids.tsv", "text\tlabel\tid\na\tpos\tx1\nb\tneg\tx2\n")
    data = read_classify(with_ids, evaluation=with_ids, test=some, columns=Columns(id="id"))
    assert [e.id for e in (*data.train, *data.test["test"])] == ["x1", "x2", "q7", "q8"]


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (TSV.replace("text", "txet"), {}, ["a.tsv, line 2 has no column 'text', nearest is txet", "'txet', 'label'"]),
        (TSV, {"columns": Columns(label="lable")}, ["no column 'lable', nearest is label"]),
        (TSV, {"columns": Columns(text_pair="other")}, ["no column 'other'", "'text', 'label'"]),
        (TSV + " \tpos\n", {}, ["line 5: the text in column 'text' is empty"]),
        (TSV + "d\t\n", {}, ["line 5: the label in column 'label' is empty"]),
        (TSV + "d\n", {}, ["line 5 has 1 field(s), expected 2: text, label"]),
        (TSV, {"problem": "regression"}, ["line 2: 'pos' is not a finite number"]),
        (TSV.replace("pos", "nan"), {"problem": "regression"}, ["'nan' is not a finite number"]),
        (TSV, {"labels": ["pos", "negative"]}, ["line 3: unknown label 'neg'", "The labels given are: pos, negative"]),
        (TSV, {"labels": ["pos", "pos"]}, ["data.labels has a label twice"]),
        (TSV.replace("neg", "pos"), {}, ["at least two labels, got 'pos'"]),
        (TSV.encode("utf-8") + b"caf\xe9\tpos\n", {}, ["line 5 is not UTF-8 text"]),
        ("", {}, ["holds no row"]),
        (TSV, {"columns": Columns(id="text"), "test": TSV + "a\tpos\n"}, ["line 5: the id 'a' occurs twice"]),
        (TSV, {"evaluation": TSV + "d\tpso\n"}, ["dev.tsv, line 5: unknown label 'pso', nearest is pos", "neg, pos"]),
        ("a 1\tp\nb 1\tn\n", {}, ["no column 'text'", "(data.columns.header)"]),
        (TSV, {"problem": "multi_label", "columns": Columns(separator="")}, ["data.label_separator is empty"]),
        (TSV, {"evaluation": None}, ["There is no evaluation set"]),
        (TSV, {"evaluation_fraction": 0.5}, ["There are two evaluation sets", "a.tsv and data.eval_fraction=0.5"]),
        (TSV, {"evaluation": None, "evaluation_fraction": 1.5}, ["data.eval_fraction=1.5"]),
        (
            TSV,
            {"evaluation": None, "evaluation_fraction": 1e-9},
            ["leaves 3 training examples and 0 evaluation examples"],
        ),
    ],
)
def test_errors_name_the_cause(tmp_path, content, options, words):
    path = save(tmp_path, "a.tsv", content)
    options = {"evaluation": path, **options}
    for name, file in (("evaluation", "dev.tsv"), ("test", "test.tsv")):
        if isinstance(options.get(name), str):
            options[name] = save(tmp_path, file, options[name])
    with pytest.raises(UserError) as caught:
        read_classify(path, **options)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("value", "problem", "words"),
    [
        ("3", "multi_label", "holds 3, expected a list of labels"),
        ('["a"]', "single_label", "expected one label"),
        ("null", "single_label", "is empty"),
        ("true", "regression", "True is not a finite number"),
    ],
)
def test_json_values_of_the_wrong_type_raise(tmp_path, value, problem, words):
    path = save(tmp_path, "a.jsonl", f'{{"text": "x", "label": {value}}}')
    with pytest.raises(UserError) as caught:
        read_classify(path, evaluation=path, problem=problem)
    assert words in str(caught.value)
