"""The split of a file is determined by its name."""

import pytest

from train.errors import UserError
from train.tasks.readers.folders import set_files, set_name, table_files

NAMES = {
    "train": "train.csv TRAIN.tsv training.jsonl my-train.csv train_data.csv en_train.conll train-00000-of-00001.csv",
    "dev": "dev.csv val.csv Val.CSV valid.tsv validation.jsonl eval.csv evaluation.csv development.csv devel.txt "
    "heldout.csv held_out.csv held-out.tsv NER-de-dev.tsv dev-v2.csv val_set.csv valset.csv evals.csv valid_split.json "
    "emerging.dev.conll esp.testa",
    "test": "test.csv tests.csv test_set.tsv testing.csv testdata.csv ned.testb xnli.test.tsv",
    None: "reviews.csv train_dev.csv train-test-split.csv contest.csv latest.csv devices.csv evalution.csv",
}


@pytest.mark.parametrize(("name", "found"), [(name, found) for found, names in NAMES.items() for name in names.split()])
def test_the_name_determines_the_split(name, found):
    assert set_name(name) == found


@pytest.mark.parametrize(
    ("files", "found", "notes"),
    [
        ("train.csv val.csv", ("train.csv", "val.csv", None), []),
        ("train.csv validation.jsonl test.tsv", ("train.csv", "validation.jsonl", "test.tsv"), []),
        ("train.csv train_full.csv dev.csv", ("train.csv", "dev.csv", None), ["not read: train_full.csv"]),
        ("my_train.csv my_dev.csv extra.csv", ("my_train.csv", "my_dev.csv", None), ["not read: extra.csv"]),
        ("train.csv README.txt labels.txt .hidden.csv", ("train.csv", None, None), ["a share of 0.1 of train.csv"]),
        ("train.csv test.csv", ("train.csv", None, "test.csv"), ["no evaluation file: a share of 0.1"]),
    ],
)
def test_tables_of_a_directory(tmp_path, files, found, notes):
    for name in files.split():
        (tmp_path / name).touch()
    *paths, found_notes = table_files(str(tmp_path), 0.1)
    assert tuple(path and path.name for path in paths) == found
    assert len(found_notes) == len(notes)
    assert all(words in note for words, note in zip(notes, found_notes, strict=True))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            "dev.csv",
            "no training file in {}. Expected a name with one of the words train, training, trn. Found: dev",
        ),
        ("", "Found: no file"),
        ("train.csv holdings.csv", "no evaluation file that can be read (files:{}/train.csv holds out a share"),
        ("train.csv holdings.csv", "Expected a name with one of the words dev, devel, development, val,"),
        ("train.csv holdings.csv", "Found: holdings.csv, train.csv."),
        ("train.csv val.parquet", "Found: train.csv, val.parquet"),
        ("train.csv dev.csv.gz", "Found: dev.csv.gz, train.csv"),
        ("train.csv val/", "Found: train.csv, val"),
        ("train.csv dev.csv val.csv", "holds both dev.csv and val.csv"),
        ("train.csv my-dev.csv your-dev.csv", "holds both my-dev.csv and your-dev.csv"),
        (" ".join(f"a{n}.csv" for n in range(30)), "a26.csv and 10 more"),
    ],
)
def test_ambiguous_names_raise_with_the_files_found(tmp_path, files, words):
    for name in files.split():
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        table_files(str(tmp_path))
    assert words.format(tmp_path) in str(caught.value)


def test_the_names_of_a_benchmark_come_first(tmp_path):
    for name in ("train.json", "dev.json", "train-v1.1.json", "dev-v2.0.json"):
        (tmp_path / name).touch()
    found = set_files(tmp_path, (".json",), {"train": ["train-v1.1.json"], "dev": ["dev-v1.1.json"]})
    assert {name: path.name for name, path in found.named.items()} == {"train": "train-v1.1.json", "dev": "dev.json"}
    assert [path.name for path in found.others] == ["dev-v2.0.json", "train.json"]
