"""RACE and SWAG: their contexts and choices, and errors for invalid files."""

import csv
import json
import shutil

import pytest

from train.errors import UserError
from train.tasks.readers.multiple_choice import read_race, read_swag

ARTICLE = {
    "article": " Tom has a dog. ",
    "questions": ["Tom has a _ .", "Who has a dog?", "_ and _"],
    "options": [["dog", "cat", "cow", "_"], ["Tom", "Ann", "Bob", ""], ["a", "b", "c", "d"]],
    "answers": ["A", "D", "B"],
    "id": "high1.txt",
}


def write_race(root, **changed):
    for split in ("train", "dev", "test"):
        for level in ("middle", "high"):
            (root / split / level).mkdir(parents=True)
            for number in (10, 9):
                article = {**ARTICLE, "article": f"{split} {level} {number}"}
                (root / split / level / f"{number}.txt").write_text(json.dumps(article))
    if changed:
        (root / "train" / "high" / "9.txt").write_text(json.dumps({**ARTICLE, **changed}))


def test_race_fills_blanks_and_joins_questions(tmp_path):
    write_race(tmp_path / "RACE")
    data = read_race(f"files:{tmp_path}")
    assert data.kind == "choices"
    assert [e.choices for e in data.train[:3]] == [
        ("Tom has a dog .", "Tom has a cat .", "Tom has a cow .", "Tom has a _ ."),
        ("Who has a dog? Tom", "Who has a dog? Ann", "Who has a dog? Bob", "Who has a dog?"),
        ("a and a", "b and b", "c and c", "d and d"),
    ]
    assert [e.label for e in data.train[:3]] == [0, 3, 1]
    names = [
        f"{level}/{number}-{question}" for level in ("middle", "high") for number in (9, 10) for question in range(3)
    ]
    for split, examples in {"train": data.train, "dev": data.evaluation["dev"], "test": data.test["test"]}.items():
        assert [e.id for e in examples] == names
        assert examples[-1].context == f"{split} high 10"


def test_race_level_reads_one_exam(tmp_path):
    write_race(tmp_path)
    assert {e.id.partition("/")[0] for e in read_race(f"files:{tmp_path}", level="high").train} == {"high"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"answers": ["A", "E", "B"]}, "9.txt, question 1: unknown label 'E'. The answers are: A, B, C, D."),
        ({"answers": ["A"]}, "3 questions, 3 lists of options and 1 answers"),
        ({"options": [["a"], ["b"], ["c"]]}, "question 0: expected a list of 2 to 26 options, got ['a']"),
        ({"questions": None}, "has no list 'questions'"),
        ({"article": 3}, "the article is 3, expected a text"),
    ],
)
def test_race_raises_for_invalid_articles(tmp_path, changed, words):
    write_race(tmp_path, **changed)
    with pytest.raises(UserError) as caught:
        read_race(f"files:{tmp_path}")
    assert words in str(caught.value)


def test_race_without_a_folder_raises(tmp_path):
    write_race(tmp_path)
    shutil.rmtree(tmp_path / "dev" / "middle")
    with pytest.raises(UserError, match=r"There is no article of RACE in .*dev/middle"):
        read_race(f"files:{tmp_path}")


def test_swag_fixture_is_read(shared_data, tmp_path):
    source = shared_data / "hf_fixtures" / "tests_samples" / "swag" / "sample.json"
    objects = [json.loads(line) for line in source.read_text().splitlines()]
    for name in ("train.json", "val.jsonl"):
        shutil.copy(source, tmp_path / name)
    with (tmp_path / "test.csv").open("w", newline="") as file:  # the published test file has no labels
        writer = csv.DictWriter(file, ["", *(key for key in objects[0] if key != "label")], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({"": number, **one} for number, one in enumerate(objects))
    data = read_swag(f"files:{tmp_path}")
    assert len(data.train) == len(data.evaluation["dev"]) == len(objects) == 10
    for example, one in zip(data.train, objects, strict=True):
        assert (example.context, example.label) == (one["sent1"], one["label"])
        assert example.choices == tuple(f"{one['sent2']} {one[f'ending{n}']}" for n in range(4))
    assert [(e.context, e.choices, e.id) for e in data.test["test"]] == [
        (e.context, e.choices, e.id) for e in data.train
    ]
    assert {e.label for e in data.test["test"]} == {None}


@pytest.mark.parametrize("count", [2, 3, 5, 11])
def test_swag_reads_every_ending(tmp_path, count):
    fields = {"sent1": " a", "sent2": "b", **{f"ending{n}": f"c{n}" for n in range(count)}}
    rows = [{**fields, "label": 0}, {**fields, "label": count - 1}]
    for name in ("train", "validation"):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*reversed(fields), "label"])
            writer.writeheader()
            writer.writerows(rows)
    (tmp_path / "test.jsonl").write_text(json.dumps({**fields, "label": -1}))
    data = read_swag(f"files:{tmp_path}")
    assert [e.choices for e in data.train] == [tuple(f"b c{n}" for n in range(count))] * 2
    assert [e.label for e in (*data.train, *data.test["test"])] == [0, count - 1, None]
    assert data.train[0].context == " a"


@pytest.mark.parametrize(
    ("train", "dev", "words"),
    [
        (
            (0, 1, 2),
            (0, 1, 2, 3),
            "val.jsonl, example 0 has 4 choices, but example 0 of the first set has 3",
        ),
        ((0, 1, 3), (0, 1, 3), "has no column 'ending2'"),
        ((0,), (0,), "has no column 'ending1'"),
        ((), (), "has no column 'ending0'"),
    ],
)
def test_swag_raises_for_different_numbers_of_endings(tmp_path, train, dev, words):
    for name, numbers in {"train": train, "val": dev}.items():
        row = {"sent1": "a", "sent2": "b", "label": 0, **{f"ending{n}": "c" for n in numbers}}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError) as caught:
        read_swag(f"files:{tmp_path}")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "answers", "words"),
    [
        ([["x", "y", "z"]] * 3, ["A", "B", "C"], None),
        ([["x", "y", "z"]] * 3, ["A", "B", "D"], "unknown label 'D'. The answers are: A, B, C."),
        ([["x", "y", "z"], ["x", "y"], ["x", "y", "z"]], ["A", "B", "C"], "high/9-1 has 2 choices"),
    ],
)
def test_race_accepts_any_equal_number_of_options(tmp_path, options, answers, words):
    write_race(tmp_path)
    for path in tmp_path.glob("*/*/*.txt"):
        path.write_text(json.dumps({**ARTICLE, "options": options, "answers": answers}))
    if words is None:
        assert {len(e.choices) for e in read_race(f"files:{tmp_path}").train} == {3}
        return
    with pytest.raises(UserError) as caught:
        read_race(f"files:{tmp_path}", level="high")
    assert words in str(caught.value)


@pytest.mark.parametrize(("label", "words"), [("4", "unknown label '4'"), ("", "unknown label ''"), ("01", "'01'")])
def test_swag_raises_for_invalid_labels(tmp_path, label, words):
    row = {"sent1": "a", "sent2": "b", **{f"ending{n}": "c" for n in range(4)}}
    for name in ("train", "val"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({**row, "label": label}))
    with pytest.raises(UserError) as caught:
        read_swag(f"files:{tmp_path}")
    assert words in str(caught.value)
    assert "train.jsonl, line 1" in str(caught.value)
