"""GLUE's files: counts and balance of the real ones, and what malformed ones say."""

import collections

import pytest

from train.errors import UserError
from train.tasks.glue import GLUE_TASKS, read_glue

# Examples to learn from, in the development set, and how many of these have each label; counted with wc and cut.
COUNTS = {
    "cola": (8551, 1043, {0: 324, 1: 719}),
    "sst2": (67349, 872, {0: 428, 1: 444}),
    "mrpc": (4076, 1725, {0: 578, 1: 1147}),
    "rte": (2490, 277, {0: 146, 1: 131}),
    "wnli": (635, 71, {0: 40, 1: 31}),
}


@pytest.mark.parametrize("task", COUNTS)
def test_real_files_are_read_whole(task, shared_data):
    train, dev, balance = COUNTS[task]
    data = read_glue(task, f"files:{shared_data / 'glue'}")
    assert len(data.train) == train
    assert len(data.evaluation["dev"]) == dev
    assert collections.Counter(example.label for example in data.evaluation["dev"]) == balance
    texts = {len(example.texts) for example in (*data.train, *data.evaluation["dev"])}
    assert texts == {len(GLUE_TASKS[task].texts)}


def test_similarities_are_numbers(shared_data):
    data = read_glue("stsb", f"files:{shared_data / 'glue' / 'STS-B'}")
    assert (len(data.train), len(data.evaluation["dev"]), len(data.test["test"])) == (5749, 1500, 1379)
    assert data.evaluation["dev"][0].texts[0] == "A man with a hard hat is dancing."
    labels = [example.label for example in data.evaluation["dev"]]
    assert (min(labels), max(labels), data.problem) == (0.0, 5.0, "regression")
    assert data.test["test"][0].label is None


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
def test_fixtures_of_the_field_are_read(task, shared_data):
    folder = shared_data / "hf_fixtures" / "tests_samples" / GLUE_TASKS[task].folder
    data = read_glue(task, f"files:{folder}")
    lines = (folder / "train.tsv").read_text().strip().split("\n")
    assert len(data.train) == len(lines) - 1


def write(folder, **files):
    for name, lines in files.items():
        (folder / f"{name}.tsv").write_text("\n".join("\t".join(line) for line in lines) + "\n")
    return f"files:{folder}"


def test_entailment_has_two_held_out_sets(tmp_path):
    header = ("index", "sentence1", "sentence2", "gold_label")
    rows = [("0", "a man", "a person", "entailment"), ("1", "a man", "no man", "contradiction")]
    source = write(
        tmp_path,
        train=[header, *rows],
        dev_matched=[header, rows[0]],
        dev_mismatched=[header, rows[1]],
        test_matched=[header[:3], rows[0][:3]],
        diagnostic=[header[:3], rows[1][:3]],
    )
    data = read_glue("mnli", source)
    assert {name: [each.label for each in found] for name, found in data.evaluation.items()} == {
        "matched": [0],
        "mismatched": [2],
    }
    assert list(data.test) == ["test_matched"]
    assert [each.texts for each in read_glue("ax", source).test["test"]] == [("a man", "no man")]


def test_quotes_are_text(tmp_path):
    source = write(tmp_path, dev=[("sentence", "label"), ('" odd', "1"), ('it is "fine"', "0")])
    assert [example.texts for example in read_glue("sst2", source).evaluation["dev"]] == [('" odd',), ('it is "fine"',)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("sentence", "label"), ("fine", "2")], r"line 2: label is '2', expected one of 0, 1"),
        ([("sentence", "label"), ("fine",)], r"line 2 has 1 fields, expected 2: sentence, label"),
        ([("sentence", "labels"), ("fine", "1")], r"has no column 'label', nearest is labels; it has sentence, labels"),
        ([("sentence", "label"), (" ", "1")], r"line 2: column 'sentence' holds ' ', expected a text"),
    ],
)
def test_what_a_malformed_row_says(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        read_glue("sst2", write(tmp_path, dev=rows))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no development set of rte: expected dev\.tsv, there or in RTE/"):
        read_glue("rte", f"files:{tmp_path}")
    with pytest.raises(UserError, match="is no directory"):
        read_glue("rte", f"files:{tmp_path / 'nowhere'}")
    (tmp_path / "dev.tsv").write_bytes(b"sentence\tlabel\n\xff\xfe\t1\n")
    with pytest.raises(UserError, match="line 2 is not UTF-8"):
        read_glue("sst2", f"files:{tmp_path}")
