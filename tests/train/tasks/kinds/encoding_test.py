"""Examples encoded to rows: truncation, positions of labels, and decoded predictions."""

import numpy as np
import pytest

from flax_lite.tokenization import train_tokenizer
from train.tasks.examples import ChoiceExample, TagExample, TaskData, TextExample
from train.tasks.kinds.classification import Choices, Classification
from train.tasks.kinds.tagging import Tagging
from train.tasks.rows import build_tokens

TEXT = ["the", "cat", "sat", "on", "a", "mat", "while", "some", "dogs", "ran", "after", "it", "all", "day", "long"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([" ".join(TEXT)] * 50, "wordpiece", 120)


def task_of(kind, tokenizer, max_length, examples, **fields):
    name = {Classification: "classification", Choices: "choices", Tagging: "tags"}[kind]
    data = TaskData(kind=name, train=examples, evaluation={"dev": examples}, labels=("a", "b", "c"), **fields)
    return kind(data, tokenizer, max_length)


def test_rows_equal_the_output_of_the_tokenizer(tokenizer):
    draw = np.random.default_rng(0)
    texts = [[" ".join(draw.choice(TEXT, draw.integers(1, 20))) for _ in range(2)] for _ in range(20)]
    for pair in (False, True):
        examples = [TextExample(id="0", texts=tuple(each[: 1 + pair]), label=1) for each in texts]
        task = task_of(Classification, tokenizer, 16, examples)
        rows = task.rows(examples)
        found = rows.batch(range(20), 20, 16)
        expected = tokenizer([a for a, _ in texts], [b for _, b in texts] if pair else None, max_length=16)
        for name, array in expected.items():
            assert np.array_equal(found[name], array)
        sizes = [sum(map(len, tokenizer.encode(each[: 1 + pair]))) + 2 + pair for each in texts]
        assert task.num_truncated == sum(size > 16 for size in sizes) > 0


def test_a_continuation_keeps_its_end_and_the_context_its_start(tokenizer):
    first, second = list(range(10, 30)), list(range(40, 60))
    tokens, begin = build_tokens(tokenizer, first, second, 16, 6)
    assert tokens.tolist() == [tokenizer.cls_id, *first[:7], tokenizer.sep_id, *second[-6:], tokenizer.sep_id]
    assert begin == 9
    tokens, _ = build_tokens(tokenizer, first, second, 16, 128)
    assert (len(tokens), tokens[-2]) == (16, second[12])


def test_every_word_gets_its_tag_once(tokenizer):
    draw = np.random.default_rng(0)
    examples = []
    for number in range(30):
        words = tuple(draw.choice([*TEXT, "unseenly", "\u200b", "longerwords"], draw.integers(1, 25)))
        examples.append(TagExample(id=str(number), words=words, tags=tuple(draw.integers(0, 3, len(words)).tolist())))
    task = task_of(Tagging, tokenizer, 16, examples)
    rows = task.rows(examples)
    assert len(rows) > len(examples)  # some sentences take several rows
    assert task.num_truncated == 0

    logits = []
    for row in rows.rows:
        tags = row.labels["tags"]
        assert len(tags) == len(row.tokens[0]) <= 16
        # The true tag at first pieces, a wrong one elsewhere; padded as in a batch.
        scores = np.where(np.arange(3) == np.where(tags < 0, 2, tags)[:, None], 5.0, 0.0)
        logits.append({"logits_0": np.pad(scores, ((0, 16 - len(tags)), (0, 0)))})
    assert [each.value for each in task.predict(examples, rows, logits)] == [each.tags for each in examples]


@pytest.mark.parametrize(("letters", "cut"), [(3, 0), (14, 0), (15, 1), (40, 1)])
def test_a_word_longer_than_a_row_is_counted(tokenizer, letters, cut):
    examples = [TagExample(id="0", words=("the", "a" + "-" * (letters - 1), "cat"), tags=(0, 1, 2))]
    assert len(tokenizer.encode([examples[0].words[1]])[0]) == letters
    task = task_of(Tagging, tokenizer, 16, examples)
    task.rows(examples)
    assert task.num_truncated == cut


def test_predictions_by_problem(tokenizer):
    examples = [TextExample(id="7", texts=("the cat",), label=None)]
    logits = [{"logits_0": np.float32([0.0, 2.0, -1.0])}]

    def predict(**fields):
        task = task_of(Classification, tokenizer, 16, examples, **fields)
        return task.predict(examples, task.rows(examples), logits)[0]

    assert predict().value == 1
    assert sum(predict().probabilities) == pytest.approx(1.0)
    assert predict(problem="multi_label").value == (0, 1, 0)
    assert predict(problem="regression").value == 0.0


def test_choices_are_sequences_of_one_row(tokenizer):
    examples = [ChoiceExample(id="0", context="the cat", choices=("sat", "ran after it"), label=1)]
    task = task_of(Choices, tokenizer, 16, examples)
    batch = task.rows(examples).batch([0], 2, 16)
    assert batch["input_ids"].shape == (2, 2, 16)
    expected = tokenizer(["the cat"] * 2, ["sat", "ran after it"], max_length=16)
    assert np.array_equal(batch["input_ids"][0], expected["input_ids"])
    assert np.array_equal(batch["token_type_ids"][0], expected["token_type_ids"])
    prediction = task.predict(examples, task.rows(examples), [{"logits_0": np.float32([0, 1])}])[0]
    assert prediction.value == 1
