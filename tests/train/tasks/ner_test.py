"""Tagged words: the real files, the formats of the field, and malformed lines."""

import json

import pytest

from train.errors import UserError
from train.tasks.ner import bio, read_conll, read_ner


def test_real_files_are_read_whole(shared_data):
    folder = shared_data / "ner" / "WNUT17"
    data = read_ner(f"files:{folder}")
    kinds = ("corporation", "creative-work", "group", "location", "person", "product")
    assert data.labels == ("O", *(f"{mark}-{kind}" for mark in "BI" for kind in kinds))
    for name, examples in {"train": data.train, **data.evaluation}.items():
        file = {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"}[name]
        words = [line for line in (folder / file).read_text().split("\n") if line.strip()]
        assert sum(len(example.words) for example in examples) == len(words)
        begun = sum(data.labels[tag].startswith("B-") for example in examples for tag in example.tags)
        assert begun == sum(line.split("\t")[1].startswith("B-") for line in words)


def test_json_lines_are_read(shared_data, tmp_path):
    sample = shared_data / "hf_fixtures" / "tests_samples" / "conll" / "sample.json"
    (tmp_path / "dev.json").write_text(sample.read_text())
    (examples,) = read_ner(f"files:{tmp_path}").evaluation.values()
    assert len(examples) == len(sample.read_text().strip().split("\n"))
    assert examples[1].words == ("CHICAGO", "AT", "ATLANTA")


def test_columns_by_spaces_documents_and_old_tags(tmp_path):
    first = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nGerman JJ I-NP I-MISC\n\n\n"
    (tmp_path / "eng.testa").write_text(first + "Paris NNP I-NP I-LOC\nRome NNP I-NP B-LOC\n")
    assert list(read_conll(tmp_path / "eng.testa")) == [
        (("EU", "German"), ("I-ORG", "I-MISC")),
        (("Paris", "Rome"), ("I-LOC", "B-LOC")),
    ]
    data = read_ner(f"files:{tmp_path}")
    named = [[data.labels[tag] for tag in example.tags] for example in data.evaluation["dev"]]
    assert named == [["B-ORG", "B-MISC"], ["B-LOC", "B-LOC"]]


def test_every_entity_begins_with_b():
    assert bio(["I-A", "I-A", "O", "I-B", "I-A", "B-A", "I-A"]) == ("B-A", "I-A", "O", "B-B", "B-A", "B-A", "I-A")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word\n", r"line 1 is 'word', expected a word and its tag"),
        ("word\tX-LOC\n", r"line 1: the tag 'X-LOC' is none of O, B-TYPE and I-TYPE"),
        ("word\tB-\n", r"the tag 'B-'"),
    ],
)
def test_what_a_malformed_line_says(tmp_path, text, message):
    (tmp_path / "dev.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_ner(f"files:{tmp_path}")


def test_json_of_unequal_length_is_refused(tmp_path):
    (tmp_path / "dev.jsonl").write_text(json.dumps({"tokens": ["a", "b"], "ner_tags": ["O"]}) + "\n")
    with pytest.raises(UserError, match="line 1: expected as many ner_tags as tokens"):
        read_ner(f"files:{tmp_path}")


def test_a_directory_without_held_out_sentences_is_refused(tmp_path):
    (tmp_path / "train.txt").write_text("a\tO\n")
    with pytest.raises(UserError, match="no held-out sentences"):
        read_ner(f"files:{tmp_path}")
