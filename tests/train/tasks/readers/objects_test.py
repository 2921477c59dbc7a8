"""Python objects as examples: what pandas and datasets hold, written as the files of each task."""

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from train.errors import UserError
from train.options.config_files import load_config
from train.options.schema import validate
from train.options.task_tables import FINETUNE_OPTIONS
from train.tasks.opening import open_data
from train.tasks.readers.objects import rows_of, write_objects


class Feature:
    def __init__(self, names=None, feature=None):
        self.names, self.feature = names, feature


class Dataset(list):
    """As a `datasets.Dataset`: rows, and features that name the labels."""

    def __init__(self, rows, features):
        super().__init__(rows)
        self.features = features


def dataset(rows, **features):
    return Dataset(rows, features)


def data_of(spec, sets, tmp_path):
    loaded = load_config(f"{REPOSITORY}/configs/{spec}")
    values = validate(FINETUNE_OPTIONS[loaded.table], loaded.values, spec)
    return open_data(values | {"data.source": write_objects(values["task"], sets, tmp_path)})


def test_labels_of_a_dataset_have_their_names(tmp_path):
    texts = [{"text": "a", "label": 1}, {"text": "b", "label": 0}, {"text": "c", "label": -1}]
    data = data_of("classify.py", {
        "train": dataset(texts[:2], label=Feature(["neg", "pos"])),
        "dev": dataset(texts[:1], label=Feature(["neg", "pos"])),
        "test": dataset(texts[2:], label=Feature(["neg", "pos"])),
    }, tmp_path)  # fmt: skip
    assert data.labels == ("neg", "pos")
    assert [example.label for example in (*data.train, *data.test["test"])] == [1, 0, None]


def test_tags_of_a_dataset_have_their_names(tmp_path):
    rows = dataset(
        [{"tokens": np.array(["Ann", "ran"]), "ner_tags": [1, 0]}], ner_tags=Feature(None, Feature(["O", "B-X"]))
    )
    data = data_of("ner.py", {"train": rows, "dev": rows}, tmp_path)
    assert (data.labels, data.train[0].words, data.train[0].tags) == (("O", "B-X"), ("Ann", "ran"), (1, 0))


def test_questions_of_a_dataset_are_grouped_by_title(tmp_path):
    answers = [{"text": ["Ann"], "answer_start": np.array([0])}, {"text": [], "answer_start": []}]
    rows = [
        {"id": str(n), "title": "t", "context": "Ann ran", "question": "who?", "answers": each}
        for n, each in enumerate(answers)
    ]
    data = data_of("squad.py:v2", {"train": rows, "dev": rows[:1]}, tmp_path)
    assert [[(a.text, a.start) for a in example.answers] for example in data.train] == [[("Ann", 0)], []]


def test_choices_are_rows(tmp_path):
    row = {"sent1": "a", "sent2": "b", "ending0": "c", "ending1": "d", "label": 1}
    data = data_of("multiple_choice.py:swag", {"train": [row], "dev": [row]}, tmp_path)
    assert (data.train[0].choices, data.train[0].label) == (("b c", "b d"), 1)


def test_a_dictionary_of_splits_is_refused():
    with pytest.raises(UserError, match="one split of a datasets"):
        list(rows_of({"train": [{"text": "a"}]}, "train"))
