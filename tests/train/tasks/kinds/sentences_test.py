"""The scores of sentence pairs have to be on the scale of the options."""

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
            "1 of 2 training pairs have a score that is not from 0 to sentences.most=5, for example",
        ),
        ([0.0, 10.0], 5.0, "--config.sentences.most=10"),
        ([0.0, 5.01], 5.0, "not from 0 to sentences.most=5"),
        ([-1.0, 5.0, -1.0], 5.0, "2 of 3 training pairs"),
        ([0.0, 100.0], 1.0, "not from -1 to sentences.most=1"),
        ([-1.1, 0.0], 1.0, "not from -1 to sentences.most=1"),
        ([0.0, 0.5, 1.0], 5.0, "No training pair has a score above 1, but sentences.most=5"),
        ([0.0, 0.5, 1.0], 5.0, "would be at most 0.2. Give --config.sentences.most=1 if"),
        ([0.0, 5.0], 100.0, "No training pair has a score above 5"),
        ([0.0, 0.0], 5.0, "No training pair has a score above 0"),
    ],
)
def test_scores_off_the_scale_raise_before_training(tokenizer, scores, most, words):
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
def test_scores_on_the_scale_or_without_effect_are_accepted(tokenizer, scores, most, loss):
    objective = task_of(tokenizer, scores, most, loss).objective(None, 1.0, None)
    assert objective.compares_rows == (loss == "contrastive")
