"""Numbers of pairs and the scale that they are said to be on."""

import pytest

from flax_lite.tokenization import train_tokenizer
from train.errors import UserError
from train.tasks.examples import TaskData, TextExample
from train.tasks.kinds.sentences import Sentences


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["the cat sat"] * 50, "wordpiece", 40)


def task_of(tokenizer, scores, most, loss="cosine"):
    pairs = [TextExample(id=str(n), texts=("the cat", "sat"), label=score) for n, score in enumerate(scores)]
    data = TaskData(kind="sentences", train=pairs, evaluation={"dev": pairs}, labels=("score",), problem="regression")
    return Sentences(data, tokenizer, 16, pooling="mean", loss=loss, temperature=0.05, most=most)


@pytest.mark.parametrize(
    ("scores", "most", "words"),
    [
        (
            [0.0, 10.0],
            5.0,
            "1 of 2 training pairs have a number that is not from 0 to sentences.most=5, the first",
        ),
        ([0.0, 10.0], 5.0, "--config.sentences.most=10"),
        ([0.0, 5.01], 5.0, "not from 0 to sentences.most=5"),
        ([-1.0, 5.0, -1.0], 5.0, "2 of 3 training pairs"),
        ([0.0, 100.0], 1.0, "not from -1 to sentences.most=1"),
        ([-1.1, 0.0], 1.0, "not from -1 to sentences.most=1"),
        ([0.0, 0.5, 1.0], 5.0, "No training pair has a number above 1, and sentences.most=5"),
        ([0.0, 0.5, 1.0], 5.0, "would be 0.2 at most. Give --config.sentences.most=1 if"),
        ([0.0, 5.0], 100.0, "No training pair has a number above 5"),
        ([0.0, 0.0], 5.0, "No training pair has a number above 0"),
    ],
)
def test_numbers_off_the_scale_are_refused_before_they_are_learned(tokenizer, scores, most, words):
    with pytest.raises(UserError) as caught:
        task_of(tokenizer, scores, most).objective(None, 1.0, None)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("scores", "most", "loss"),
    [
        ([0.0, 5.0], 5.0, "cosine"),
        ([1.0, 2.0], 5.0, "cosine"),
        ([-1.0, 1.0], 1.0, "cosine"),
        ([0.0, 10.0], 10.0, "cosine"),
        ([1.0, 1.0], 5.0, "contrastive"),
        ([7.0, -1.0], 5.0, "contrastive"),
    ],
)
def test_numbers_on_the_scale_or_not_read_are_taken(tokenizer, scores, most, loss):
    objective = task_of(tokenizer, scores, most, loss).objective(None, 1.0, None)
    assert objective.compares_rows == (loss == "contrastive")
