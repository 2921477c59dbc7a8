"""A user's own tables."""

import json

import pytest

from train.errors import UserError
from train.tasks.columns import Columns, read_columns

COLUMNS = Columns(text="text", label="label")


def source(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return f"files:{tmp_path}"


def read(where, columns=COLUMNS, eval_fraction=0.2):
    return read_columns(where, columns, eval_fraction)


def test_labels_are_found_in_training_and_sorted(tmp_path):
    source(tmp_path, "train.csv", 'text,label\n"a, b",10\nc,9\n')
    data = read(source(tmp_path, "dev.tsv", "label\ttext\n9\td\n"))
    assert data.labels == ("9", "10")
    assert [(each.texts, each.label) for each in data.train] == [(("a, b",), 1), (("c",), 0)]
    assert [(each.texts, each.label) for each in data.evaluation["dev"]] == [(("d",), 0)]


def test_a_part_of_a_single_file_is_held_out_by_its_text(tmp_path):
    rows = "".join(f"text {number % 90}\t{'ab'[number % 2]}\n" for number in range(300))
    path = tmp_path / "mine.tsv"
    path.write_text("text\tlabel\n" + rows)
    data = read(f"files:{path}")
    train, held = ({each.texts for each in examples} for examples in (data.train, data.evaluation["dev"]))
    assert not train & held
    assert 0.1 < len(held) / 90 < 0.3
    assert len(data.train) + len(data.evaluation["dev"]) == 300


def test_several_labels_and_numbers(tmp_path):
    lines = [{"text": "x", "label": ["b", "a"]}, {"text": "y", "label": []}, {"text": "z", "label": "a"}]
    source(tmp_path, "train.jsonl", "\n".join(map(json.dumps, lines)))
    where = source(tmp_path, "dev.tsv", "text\tlabel\nx\tb, a\n")
    data = read(where, Columns(text="text", label="label", problem="multi_label"))
    assert data.labels == ("a", "b")
    assert [each.label for each in data.train] == [(1.0, 1.0), (0.0, 0.0), (1.0, 0.0)]
    assert data.evaluation["dev"][0].label == (1.0, 1.0)
    numbers = source(tmp_path / "..", "numbers.csv", "text,label\n" + "x,1.5\ny,-2\nz z,1.5\nw,-2\n").replace(
        "files:", ""
    )
    data = read(f"files:{numbers}/numbers.csv", Columns(text="text", label="label", problem="regression"), 0.5)
    assert data.labels == ("label",)
    assert {each.label for each in (*data.train, *data.evaluation["dev"])} == {1.5, -2.0}


def test_pairs_ids_and_texts_to_predict(tmp_path):
    source(tmp_path, "train.tsv", "q\ta\tn\tlabel\none\ttwo\t7\tyes\nthree\tfour\t8\tno\n")
    source(tmp_path, "dev.tsv", "q\ta\tn\tlabel\nfive\tsix\t9\tno\n")
    where = source(tmp_path, "test.tsv", "q\ta\tn\nseven\teight\t10\n")
    data = read(where, Columns(text="q", text_pair="a", id="n", label="label"))
    assert [(each.id, each.texts) for each in data.train] == [("7", ("one", "two")), ("8", ("three", "four"))]
    assert [(each.id, each.texts, each.label) for each in data.test["test"]] == [("10", ("seven", "eight"), None)]


@pytest.mark.parametrize(
    ("train", "dev", "message"),
    [
        ("text,labl\na,b\n", "text,label\na,b\n", "has no column 'label', nearest is labl; it has text, labl"),
        ("text,label\na,b\nc,d\n", "text,label\na,e\n", r"dev\.csv, line 2: the label 'e' does not occur in training"),
        ("text,label\n,b\n", "text,label\na,b\n", "one label alone"),
        (
            "text,label\na,b\n ,c\n",
            "text,label\na,b\n",
            r"train\.csv, line 3: column 'text' holds ' ', expected a text",
        ),
        ("text,label\na,b,c\n", "text,label\na,b\n", r"line 2 has 3 fields, expected 2: text, label"),
        ("text,label\n", "text,label\na,b\n", r"train\.csv has no rows"),
        ("", "text,label\na,b\n", r"train\.csv has no rows"),
        ('text,label\n"a,b\n', "text,label\na,b\n", "unexpected end of data"),
        ("text,label\na,\nb,c\n", "text,label\na,b\n", r"line 2: column 'label' holds '', expected a label"),
    ],
)
def test_what_malformed_tables_say(tmp_path, train, dev, message):
    source(tmp_path, "train.csv", train)
    with pytest.raises(UserError, match=message):
        read(source(tmp_path, "dev.csv", dev))


def test_what_else_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither a file nor a directory"):
        read(f"files:{tmp_path / 'nowhere'}")
    with pytest.raises(UserError, match="no train or dev file"):
        read(f"files:{tmp_path}")
    where = source(tmp_path, "train.csv", "text,label\na,b\nc,d\n")
    with pytest.raises(UserError, match=r"data\.eval_fraction=0 leaves 2 examples to learn from and 0 to score"):
        read(where, eval_fraction=0)
    with pytest.raises(UserError, match="holds 'b', no number"):
        read(where, Columns(text="text", label="label", problem="regression"))
    (tmp_path / "train.csv").unlink()
    with pytest.raises(UserError, match="line 1 is no JSON"):
        read(source(tmp_path, "train.jsonl", "{"))
    (tmp_path / "mine.xlsx").write_text("x")
    with pytest.raises(UserError, match=r"ends in \.xlsx, expected one of \.tsv, \.csv, \.jsonl"):
        read(f"files:{tmp_path / 'mine.xlsx'}")
