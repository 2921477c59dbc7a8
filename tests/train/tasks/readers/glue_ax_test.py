"""AX: trained and selected on MNLI, then predicted; with labels if the full file exists."""

import pytest

from tests.train.tasks.readers.glue_files import write, write_mnli
from tests.train.tasks.readers.glue_test import write_tfds
from train.errors import UserError
from train.tasks.readers.glue_ax import read_ax

PAIRS = [["index", "sentence1", "sentence2"], ["0", "a", "b"], ["1", "c", "d"]]
FULL = [
    [
        "Lexical Semantics",
        "Predicate-Argument Structure",
        "Logic",
        "Knowledge",
        "Domain",
        "Premise",
        "Hypothesis",
        "Label",
    ],
    ["", "", "Negation", "", "News", "a", "b", "contradiction"],
    ["", "", "", "", "News", "c", "d", "entailment"],
]


def sets(data):
    return {name: [(e.id, *e.texts, e.label) for e in examples] for name, examples in data.test.items()}


@pytest.mark.parametrize("names", [{"diagnostic"}, {"full"}, {"diagnostic", "full"}])
def test_mnli_is_the_training_set_and_the_diagnostics_the_test_set(tmp_path, names):
    write_mnli(tmp_path / "MNLI")
    files = {"diagnostic": {"diagnostic": PAIRS}, "full": {"diagnostic-full": FULL}}
    for name in names:
        write(tmp_path / "diagnostic", **files[name])
    data = read_ax(f"files:{tmp_path}")
    assert ([e.label for e in data.train], list(data.evaluation)) == ([2, 0, 1], ["matched", "mismatched"])
    expected = {
        "test": [("0", "a", "b", None), ("1", "c", "d", None)],
        "full": [("0", "a", "b", 2), ("1", "c", "d", 0)],
    }
    kept = {"diagnostic": "test", "full": "full"}
    assert sets(data) == {kept[name]: expected[kept[name]] for name in names}


def test_tfds_reads_both_data_sets(tmp_path):
    splits = {"validation_matched": [2], "validation_mismatched": [0], "test_matched": [-1], "test_mismatched": [-1]}
    write_tfds(tmp_path, "mnli", {"train": [0, 1, 2], **splits})
    write_tfds(tmp_path, "ax", {"test": [-1, -1]})
    data = read_ax("tfds:glue/ax", tfds_dir=str(tmp_path))
    assert ([e.label for e in data.train], {name: len(found) for name, found in data.test.items()}) == (
        [0, 1, 2],
        {"test": 2},
    )


def test_missing_files_raise(tmp_path):
    write_mnli(tmp_path / "MNLI")
    with pytest.raises(UserError, match="no file of diagnostic in"):
        read_ax(f"files:{tmp_path}")
    write(tmp_path / "diagnostic", diagnostic=PAIRS)
    (tmp_path / "MNLI" / "train.tsv").unlink()
    with pytest.raises(UserError, match="no training file of MNLI in"):
        read_ax(f"files:{tmp_path}")
    with pytest.raises(UserError, match="Expected 'files:DIR' with GLUE's folders"):
        read_ax("text:x")
