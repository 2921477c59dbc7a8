"""RACE and SWAG, as they are distributed."""

import json

import pytest

from train.errors import UserError
from train.tasks.multiple_choice import read_race, read_swag


def test_a_real_sample_of_swag_is_read(shared_data, tmp_path):
    sample = (shared_data / "hf_fixtures" / "tests_samples" / "swag" / "sample.json").read_text()
    (tmp_path / "val.json").write_text(sample)
    data = read_swag(f"files:{tmp_path}")
    rows = [json.loads(line) for line in sample.strip().split("\n")]
    assert len(data.evaluation["dev"]) == len(rows)
    first, row = data.evaluation["dev"][0], rows[0]
    assert (first.context, first.label) == (row["sent1"], row["label"])
    assert first.choices[2] == f"{row['sent2']} {row['ending2']}"


def test_csv_quotes_and_a_test_set_without_labels(tmp_path):
    header = "sent1,sent2,ending0,ending1,ending2,ending3,label\n"
    (tmp_path / "val.csv").write_text(header + '"A, b.",He,"says ""no"".",b,c,d,3\n')
    (tmp_path / "test.csv").write_text(header.replace(",label", "") + "A.,He,a,b,c,d\n")
    data = read_swag(f"files:{tmp_path}")
    assert data.evaluation["dev"][0].choices[0] == 'He says "no".'
    assert (data.evaluation["dev"][0].context, data.evaluation["dev"][0].label) == ("A, b.", 3)
    assert data.test["test"][0].label is None
    (tmp_path / "val.csv").write_text(header + "A.,He,a,b,c,d,4\n")
    with pytest.raises(UserError, match="label is '4', expected 0 to 3"):
        read_swag(f"files:{tmp_path}")


def test_race_has_a_file_for_each_passage(tmp_path):
    content = {
        "article": "The cat sat.",
        "questions": ["Who sat?", "What did _ do?"],
        "options": [["the cat", "a dog", "x", "y"], ["sit", "run", "x", "y"]],
        "answers": ["A", "B"],
    }
    for name in ("dev/middle/10.txt", "dev/middle/9.txt", "dev/high/1.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    examples = read_race(f"files:{tmp_path}").evaluation["dev"]
    assert [each.id for each in examples][::2] == ["high/1-0", "middle/9-0", "middle/10-0"]
    assert examples[1].choices[1] == "What did _ do? run"
    assert [each.label for each in examples[:2]] == [0, 1]
    (tmp_path / "dev/high/1.txt").write_text('{"article": "x"}')
    with pytest.raises(UserError, match=r"1\.txt is no file of RACE: KeyError: 'questions'"):
        read_race(f"files:{tmp_path}")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="expected RACE as it is distributed"):
        read_race(f"files:{tmp_path}")
    with pytest.raises(UserError, match=r"has no val\.csv"):
        read_swag(f"files:{tmp_path}")
