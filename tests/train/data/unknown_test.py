"""The share of unknown tokens in a text: its value, its notes, and the texts that are errors."""

import random

import numpy as np
import pytest

from tests.train.commands import values_of
from tests.train.data.conftest import write_documents
from train.data.pretraining import dataset
from train.data.unknown import check_known, count_ids, unknown_notes, unknown_share
from train.errors import UserError


@pytest.mark.parametrize(
    ("known", "unknown", "others", "share"),
    [(3, 1, 0, 0.25), (3, 1, 50, 0.25), (0, 2, 9, 1.0), (5, 0, 0, 0.0), (0, 0, 0, 0.0)],
)
def test_unknown_share_ignores_other_special_tokens(tokenizer, known, unknown, others, share):
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    counts[20], counts[tokenizer.unk_id], counts[tokenizer.cls_id] = known, unknown, others
    assert unknown_share(counts, tokenizer) == share
    assert bool(unknown_notes({"training text": share})) == (share >= 0.5)


def test_count_ids_adds_up_over_sequences():
    sequences = [np.array([1, 1, 3]), np.array([], int), np.array([0])] * 3
    np.testing.assert_array_equal(count_ids(sequences, 5), [3, 6, 0, 3, 0])
    np.testing.assert_array_equal(count_ids([], 2), [0, 0])


_DRAW = random.Random(0)
DNA = ["".join(_DRAW.choices("ACGT", k=150)) for _ in range(40)]
LONG = ["".join(_DRAW.choices("ACGT", k=80)) for _ in range(40)]
ONE_SENTENCE = [f"word {number} and others." for number in range(40)]


def open_data(repository, tmp_path, documents, **more):
    write_documents(tmp_path / "text.txt", [[text] for text in documents])
    values = values_of(f"{repository}/configs/albert_tiny.py:smoke")
    values |= {"data.source": f"text:{tmp_path}/text.txt", "data.eval_fraction": 0.2, "data.prepare_workers": 1}
    values |= {"tokenizer": "train:wordpiece:100", "data.cache_dir": str(tmp_path / "cache"), **more}
    return dataset.open_data(values, tmp_path / "tokenizer", lambda line: None)


@pytest.mark.parametrize(
    ("documents", "more", "message"),
    [
        (DNA, {}, "every token of the training text is [UNK]"),
        (DNA, {"data.masked_fraction": 0.0}, "every token of the training text is [UNK]"),
        (DNA, {"data.rows": "packed", "data.max_ngram": 1, "data.whole_word": False, "data.masking": "batch"}, "[UNK]"),
        (LONG, {"data.max_predictions": 2}, "the training text has no token that can be masked"),
    ],
)
def test_a_text_without_learnable_tokens_is_an_error(repository, tmp_path, documents, more, message):
    with pytest.raises(UserError) as error:
        open_data(repository, tmp_path, documents, **more)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("documents", "more", "expected", "unexpected"),
    [
        (ONE_SENTENCE, {}, ["0.00% of them unknown", "have the sentence label 1"], ["note: 1", "of the tokens of the"]),
        (ONE_SENTENCE, {"data.rows": "packed"}, ["0.00% of them unknown"], ["sentence label"]),
        (DNA * 9 + ONE_SENTENCE, {}, ["of the tokens of the held-out text are unknown"], []),
        (LONG, {"data.whole_word": False}, ["0.00% of them unknown"], ["of the tokens of the"]),
    ],
)
def test_notes_report_unknown_tokens_and_constant_labels(repository, tmp_path, documents, more, expected, unexpected):
    described = "\n".join(open_data(repository, tmp_path, documents, **more).describe())
    assert all(part in described for part in expected), described
    assert not any(part in described for part in unexpected), described


def test_check_known_accepts_any_known_token(tokenizer):
    check_known(0.999, tokenizer, "training text")
