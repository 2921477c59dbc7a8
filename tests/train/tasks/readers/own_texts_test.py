"""A user's own files: formats, labels, sets, and the messages for what is wrong with them."""

import json
from collections import Counter

import pytest

from train.data.sources.corpus import hash_share
from train.errors import UserError
from train.tasks.readers.own_texts import Columns, read_classify


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
        assert [(data.labels[e.label], *e.texts) for e in examples] == [(label, text.strip()) for label, text in lines]


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


def test_several_labels_are_lists_or_joined_names(tmp_path):
    rows = [["red", "blue"], [], ["green"]]
    lines = save(tmp_path, "a.jsonl", "".join(json.dumps({"text": "x", "label": row}) + "\n" for row in rows))
    table = save(tmp_path, "a.tsv", "text\tlabel\n" + "".join(f"x\t{'; '.join(row)}\n" for row in rows))
    expected = [(1.0, 0.0, 1.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0)]
    for path in (lines, table):
        data = read_classify(path, evaluation=path, problem="multi_label", columns=Columns(separator=";"))
        assert data.labels == ("blue", "green", "red")
        assert [e.label for e in data.train] == expected


def test_numbers_are_regression(tmp_path):
    path = save(tmp_path, "a.csv", "text,score\nx,-1.5\ny,2e3\n")
    data = read_classify(path, evaluation=path, problem="regression", columns=Columns(label="score"))
    assert (data.labels, [e.label for e in data.train]) == (("score",), [-1.5, 2000.0])


def test_a_fraction_is_held_out_by_text(tmp_path):
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
        (TSV, {"labels": ["pos", "pos"]}, ["A label is given twice"]),
        (TSV.replace("neg", "pos"), {}, ["at least two labels, got 'pos'"]),
        (TSV.encode("utf-8") + b"caf\xe9\tpos\n", {}, ["line 5 is not UTF-8 text"]),
        ("", {}, ["holds no row"]),
        (TSV, {"columns": Columns(id="text"), "test": TSV + "a\tpos\n"}, ["line 5: the id 'a' is there twice"]),
        (TSV, {"evaluation": TSV + "d\tpso\n"}, ["dev.tsv, line 5: unknown label 'pso', nearest is pos", "neg, pos"]),
        (TSV, {"evaluation": None}, ["nothing to evaluate on"]),
        (TSV, {"evaluation_fraction": 0.5}, ["Both"]),
        (TSV, {"evaluation": None, "evaluation_fraction": 1.5}, ["share to evaluate on is 1.5"]),
        (TSV, {"evaluation": None, "evaluation_fraction": 1e-9}, ["leaves 3 to learn from and 0 to evaluate on"]),
    ],
)
def test_what_is_wrong_is_said(tmp_path, content, options, words):
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
def test_json_of_the_wrong_type_is_refused(tmp_path, value, problem, words):
    path = save(tmp_path, "a.jsonl", f'{{"text": "x", "label": {value}}}')
    with pytest.raises(UserError) as caught:
        read_classify(path, evaluation=path, problem=problem)
    assert words in str(caught.value)
