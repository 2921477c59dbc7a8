"""GLUE's files, MRPC's archive and tfds:glue against independent counts, and errors for invalid files."""

import csv
from collections import Counter

import numpy as np
import pytest

from tests.train.data.sources.tfds_files import write_splits
from tests.train.tasks.readers.glue_files import write, write_mnli
from train.errors import UserError
from train.tasks.readers.glue import read_glue
from train.tasks.readers.glue_table import GLUE


def rows_of(path, header=True):
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return rows[1:] if header else rows


# Positions of the columns of texts and label; the notation of each label, by index.
LAYOUTS = {
    "cola": ("CoLA", "train.tsv", "dev.tsv", [3], 1, ["0", "1"]),
    "sst2": ("SST-2", "train.tsv", "dev.tsv", [0], 1, ["0", "1"]),
    "mrpc": ("MRPC", "msr_paraphrase_train.txt", "msr_paraphrase_test.txt", [3, 4], 0, ["0", "1"]),
    "rte": ("RTE", "train.tsv", "dev.tsv", [1, 2], 3, ["entailment", "not_entailment"]),
    "wnli": ("WNLI", "train.tsv", "dev.tsv", [1, 2], 3, ["0", "1"]),
}
# Numbers of examples, and of examples with label 1, in the training and evaluation sets, counted with awk.
COUNTS = {
    "cola": (8551, 6023, 1043, 719),
    "sst2": (67349, 37569, 872, 444),
    "mrpc": (4076, 2753, 1725, 1147),
    "rte": (2490, 1241, 277, 131),
    "wnli": (635, 312, 71, 31),
}


@pytest.mark.parametrize("task", LAYOUTS)
def test_real_files_are_read_completely(shared_data, task):
    folder, train, dev, texts, label, written = LAYOUTS[task]
    data = read_glue(task, f"files:{shared_data / 'glue'}")
    for examples, name in ((data.train, train), (data.evaluation["dev"], dev)):
        rows = rows_of(shared_data / "glue" / folder / name, header=task != "cola")
        assert [e.texts for e in examples] == [tuple(row[n] for n in texts) for row in rows]
        assert [written[e.label] for e in examples] == [row[label] for row in rows]
        assert [e.id for e in examples] == [str(n) for n in range(len(rows))]
    counts = [
        f(e) for e in (data.train, data.evaluation["dev"]) for f in (len, lambda e: Counter(x.label for x in e)[1])
    ]
    assert tuple(counts) == COUNTS[task]
    assert len(data.notes) == (task == "mrpc")


def test_stsb_is_regression_and_has_a_test_set(shared_data):
    data = read_glue("stsb", f"files:{shared_data / 'glue' / 'STS-B'}")
    assert data.problem == "regression"
    assert (len(data.train), len(data.evaluation["dev"]), len(data.test["test"])) == (5749, 1500, 1379)
    for name, examples in {"train": data.train, "dev": data.evaluation["dev"]}.items():
        rows = rows_of(shared_data / "glue" / "STS-B" / f"{name}.tsv")
        assert [e.label for e in examples] == [float(row[9]) for row in rows]
    assert all(0 <= e.label <= 5 for e in data.train)
    assert {e.label for e in data.test["test"]} == {None}
    assert [e.id for e in data.test["test"]] == [str(n) for n in range(1379)]


@pytest.mark.parametrize(("task", "count"), [("mrpc", 6), ("stsb", 9)])
def test_fixtures_with_a_byte_order_mark_are_read(shared_data, task, count):
    data = read_glue(task, f"files:{shared_data / 'hf_fixtures' / 'tests_samples'}")
    assert len(data.train) == len(data.evaluation["dev"]) == count
    assert not data.notes


def test_mnli_has_two_evaluation_and_test_sets(tmp_path):
    write_mnli(tmp_path / "MNLI")
    data = read_glue("mnli", f"files:{tmp_path}")
    assert list(data.evaluation) == list(data.test) == ["matched", "mismatched"]
    found = {name: [data.labels[e.label] for e in examples] for name, examples in data.evaluation.items()}
    assert found == {"matched": ["entailment", "neutral"], "mismatched": ["neutral", "neutral"]}
    assert [data.labels[e.label] for e in data.train] == ["contradiction", "entailment", "neutral"]
    assert data.train[0].texts == ('He said "yes', "He spoke 0")


def test_qqp_skips_invalid_rows_with_a_note(tmp_path):
    head = ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]
    good = ["7", "1", "2", "Why?", "", "1"]
    write(tmp_path, train=[head, good, ["8", "1", "2", "torn"], good], dev=[head, good])
    write(tmp_path, test=[["id", "question1", "question2"], ["0", "a", "b"], ["1", "c", "d"]])
    data = read_glue("qqp", f"files:{tmp_path}")
    assert [e.texts for e in data.train] == [("Why?", "")] * 2
    assert len(data.notes) == 1
    assert "1 row(s)" in data.notes[0]
    assert "line 3" in data.notes[0]
    assert [e.id for e in data.test["test"]] == ["0", "1"]


def test_qnli_and_ax_are_read(tmp_path):
    head = ["index", "question", "sentence", "label"]
    write(tmp_path / "QNLI", train=[head, ["0", "q", "s", "not_entailment"]], dev=[head, ["0", "q", "s", "entailment"]])
    write(tmp_path / "diagnostic", diagnostic=[["index", "sentence1", "sentence2"], ["0", "a", "b"]])
    qnli = read_glue("qnli", f"files:{tmp_path}")
    assert [e.label for e in (*qnli.train, *qnli.evaluation["dev"])] == [1, 0]
    ax = read_glue("ax", f"files:{tmp_path}")
    assert (list(ax.train), ax.evaluation, [e.texts for e in ax.test["test"]]) == ([], {}, [("a", "b")])


SST = [["sentence", "label"], ["good", "1"]]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train": SST, "val": SST}, ["dev file of SST-2", "dev.tsv", "Found: train.tsv, val.tsv"]),
        ({"train": [*SST, ["a", "2"], ["b", "3"]], "dev": SST}, ["2 errors:", "line 3", "'3'"]),
        ({"train": [*SST, ["bad", "2"]], "dev": SST}, ["train.tsv, line 3", "'2'", "0, 1"]),
        ({"train": [*SST, ["bad"]], "dev": SST}, ["line 3 has 1 field(s), expected 2"]),
        ({"train": [["sentence", "lable"], ["good", "1"]], "dev": SST}, ["'label', nearest is lable"]),
        ({"train": SST[:1], "dev": SST}, ["train.tsv holds no row"]),
        ({"train": [], "dev": SST}, ["train.tsv holds no row"]),
    ],
)
def test_invalid_files_raise(tmp_path, files, words):
    write(tmp_path, **files)
    with pytest.raises(UserError) as caught:
        read_glue("sst2", f"files:{tmp_path}")
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("score", "right"), [("0", True), ("5.000", True), ("5.1", False), ("10", False), ("-1", False)]
)
def test_scores_of_stsb_have_to_be_on_its_scale(tmp_path, score, right):
    rows = [["sentence1", "sentence2", "score"], [" a", "b", "2.5"], ["a", "b", score]]
    write(tmp_path, train=rows, dev=rows)
    if 0 <= float(score) <= 5:
        data = read_glue("stsb", f"files:{tmp_path}")
        assert (data.train[1].label, data.train[0].texts[0]) == (float(score), " a")
        return
    with pytest.raises(UserError, match=r"train\.tsv, line 3: .* is not within the scale of STS-B, 0 to 5"):
        read_glue("stsb", f"files:{tmp_path}")


@pytest.mark.parametrize(
    ("task", "source", "words"),
    [
        ("sst", "files:.", ["nearest is sst2"]),
        ("sst2", "text:x", ["'files:DIR'", "tfds:glue/sst2"]),
        ("sst2", "files:/nowhere/at/all", ["there is no directory /nowhere/at/all"]),
    ],
)
def test_unknown_tasks_and_sources_raise(task, source, words):
    with pytest.raises(UserError) as caught:
        read_glue(task, source)
    assert all(word in str(caught.value) for word in words), caught.value


def write_tfds(data_dir, task, splits):
    """Writes tfds:glue/TASK in the layout of the real data set, with these labels in each split."""
    tfds = pytest.importorskip("tensorflow_datasets")
    row = GLUE[task]
    label = np.float32 if row.problem == "regression" else tfds.features.ClassLabel(names=list(row.labels))
    texts = row.tfds_texts or row.texts
    features = tfds.features.FeaturesDict(
        {**dict.fromkeys(texts, tfds.features.Text()), "label": label, "idx": np.int32}
    )

    def examples(labels):
        return [
            {**{text: f"{text} {n} ü" for text in texts}, "label": label, "idx": n} for n, label in enumerate(labels)
        ]

    write_splits(
        data_dir, {split: examples(labels) for split, labels in splits.items()}, features, name="glue", config=task
    )


def test_tfds_has_the_same_sets_and_unknown_labels(tmp_path):
    splits = {"validation_matched": [2], "validation_mismatched": [0, 1]}
    write_tfds(tmp_path, "mnli", {"train": [0, 1, 2], **splits, "test_matched": [-1, -1], "test_mismatched": [-1]})
    data = read_glue("mnli", "tfds:glue/mnli", tfds_dir=str(tmp_path))
    assert [e.label for e in data.train] == [0, 1, 2]
    assert {name: [e.label for e in found] for name, found in data.evaluation.items()} == {
        "matched": [2],
        "mismatched": [0, 1],
    }
    assert {name: [e.label for e in found] for name, found in data.test.items()} == {
        "matched": [None, None],
        "mismatched": [None],
    }
    assert [e.id for e in data.train] == ["0", "1", "2"]
    assert data.train[1].texts == ("premise 1 ü", "hypothesis 1 ü")


def test_tfds_numbers_and_diagnostics_are_read(tmp_path):
    write_tfds(tmp_path, "stsb", {"train": [2.5], "validation": [0.0, 5.0], "test": [-1.0]})
    stsb = read_glue("stsb", "tfds:glue/stsb", tfds_dir=str(tmp_path))
    assert [e.label for e in (*stsb.train, *stsb.evaluation["dev"], *stsb.test["test"])] == [2.5, 0.0, 5.0, None]
    write_tfds(tmp_path, "ax", {"test": [-1, -1]})
    ax = read_glue("ax", "tfds:glue/ax", tfds_dir=str(tmp_path))
    assert [(e.id, e.label) for e in ax.test["test"]] == [("0", None), ("1", None)]


def test_tfds_of_another_task_or_without_a_split_raises(tmp_path):
    write_tfds(tmp_path, "sst2", {"train": [1, 0]})
    with pytest.raises(UserError, match="no example of the dev set"):
        read_glue("sst2", "tfds:glue/sst2", tfds_dir=str(tmp_path))
    with pytest.raises(UserError, match="has no column 'sentence1', nearest is sentence"):
        read_glue("rte", "tfds:glue/sst2", tfds_dir=str(tmp_path))
