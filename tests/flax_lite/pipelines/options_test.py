"""Options: in the wrong place, under another name, or beyond what the head and the vocabulary can express."""

import re

import numpy as np
import pytest

import flax_lite as fl
from tests.flax_lite.pipelines import cases

GIVEN = {"fill-mask": "[MASK]", "question-answering": {"question": "cat", "context": "the cat"}}
# Task, an option that its calls do not take, what is said of it, and what the calls take.
MISPLACED = [
    ("sentence-embedding", {"normalize": True}, "normalize belongs to pipeline()", "no options"),
    ("sentence-embedding", {"pooling": "cls"}, "pooling belongs to pipeline()", "no options"),
    ("sentence-embedding", {"batch_size": 4}, "batch_size belongs to pipeline()", "no options"),
    ("sentence-embedding", {"truncate_dim": 8}, "take the first columns of the result", "no options"),
    ("token-classification", {"stride": 16}, "are cut to the max_length", "aggregation_strategy, ignore_labels"),
    ("token-classification", {"grouped_entities": True}, "aggregation_strategy='simple'", "aggregation_strategy, ig"),
    ("token-classification", {"aggregation": "max"}, "did you mean aggregation_strategy?", "aggregation_strategy, ig"),
    ("text-classification", {"return_all_scores": True}, "give top_k=None", "top_k, function_to_apply"),
    ("text-classification", {"max_length": 9}, "max_length belongs to pipeline()", "top_k, function_to_apply"),
    ("text-classification", {"chunk_size": 9}, "chunk_size belongs to stream()", "top_k, function_to_apply"),
    ("fill-mask", {"topk": 3, "device": 0}, "did you mean top_k?; for device, JAX computes", "top_k, targets"),
    ("fill-mask", {"pooling": "cls"}, "there is no pooling", "top_k, targets"),
    ("question-answering", {"max_seq_len": 9}, "give pipeline() a max_length", "top_k, handle_impossible_answer"),
]


@pytest.mark.parametrize(("task", "options", "said", "taken"), MISPLACED)
def test_an_option_in_the_wrong_place_is_answered_with_the_right_one(task, options, said, taken):
    """By a call and a stream; by pipeline() too, but for what belongs to it."""
    pipe, text = cases.pipe(task), GIVEN.get(task, "a")
    calls = [lambda: pipe(text, **options)]
    if "stream()" not in said:
        calls.append(lambda: pipe.stream([text], **options))
    if "pipeline()" not in said or "belongs" not in said:
        calls.append(lambda: fl.pipeline(task, pipe.model, tokenizer=pipe.tokenizer, **options))
    names = " and no ".join(options)
    for call in calls:
        with pytest.raises(
            TypeError, match=f"^{task} takes no {names} here: .*{re.escape(said)}.* takes {taken}.*; st"
        ):
            call()


# Task, what its pipeline is made with, an option that its head or its vocabulary cannot express, the error.
REFUSED = [
    ("fill-mask", {}, {"targets": ["cat", "zebra"]}, "target 'zebra' is not in the vocabulary"),
    ("fill-mask", {}, {"targets": "日"}, "target '日' is not in the vocabulary"),
    ("fill-mask", {}, {"targets": [""]}, "target '' is 0 pieces"),
    ("fill-mask", {}, {"targets": ["cat", 3]}, "targets=['cat', 3]; expected a piece or a list of pieces"),
    ("fill-mask", {}, {"targets": 3}, "targets=3; expected a piece or a list of pieces"),
    ("fill-mask", {}, {"top_k": None}, "top_k=None; expected a number of pieces from 1 on"),
    ("fill-mask", {}, {"top_k": 2.0}, "top_k=2.0; expected a number of pieces from 1 on"),
    ("text-classification", {"labels": ("good",)}, {"function_to_apply": "softmax"}, "of a model with one label is 1"),
    ("text-classification", {}, {"top_k": True}, "top_k=True; expected a number of labels from 1 on, or None"),
    ("text-classification", {}, {"top_k": 1.5}, "top_k=1.5; expected a number of labels"),
    ("token-classification", {}, {"ignore_labels": None}, "ignore_labels=None, expected a collection of labels"),
    ("question-answering", {}, {"top_k": "2"}, "top_k='2'; expected a whole number, at least 1"),
    ("question-answering", {}, {"max_answer_len": 0}, "max_answer_len=0; expected at least 1"),
    ("question-answering", {}, {"doc_stride": 1.5}, "doc_stride=1.5; expected a whole number, at least 0"),
]


@pytest.mark.parametrize(("task", "made", "options", "message"), REFUSED)
def test_an_option_that_makes_no_sense_is_refused(task, made, options, message):
    pipe = cases.pipe(task, **made)
    with pytest.raises(ValueError, match=re.escape(message)):
        pipe(GIVEN.get(task, "a"), **options)


@pytest.mark.parametrize("sizes", [{"max_length": 16.0}, {"batch_size": 1.5}, {"batch_size": True}])
def test_a_size_is_a_whole_number(sizes):
    pipe = cases.pipe("fill-mask")
    with pytest.raises(ValueError, match="; expected a whole number, at least 1"):
        fl.pipeline("fill-mask", pipe.model, tokenizer=pipe.tokenizer, **sizes)


# Task, an option that asks for more than there is, what is said of it, and how many results there are all the same.
SAID = [
    ("text-classification", {"top_k": 4}, "top_k=4, and the model has 3 labels: results have all of them", 3),
    ("fill-mask", {"top_k": 99}, "top_k=99, and the vocabulary has 22 pieces: results have all of them", 22),
    ("token-classification", {"ignore_labels": ["LOC", "ORG"]}, "ignore_labels has ORG, and the model has O, B-", None),
    ("token-classification", {"ignore_labels": ["0"]}, "ignore_labels has 0, and the model has O, B-PER", None),
    ("text-classification", {"top_k": 3}, None, 3),
    ("fill-mask", {"top_k": 99, "targets": ["cat", "sat", "cat"]}, None, 2),
    ("token-classification", {"ignore_labels": ["O", "PER", "I-LOC"]}, None, None),
    ("token-classification", {"ignore_labels": ()}, None, None),
]


@pytest.mark.parametrize(("task", "options", "said", "count"), SAID)
def test_what_is_not_there_is_said_once(task, options, said, count, caplog, monkeypatch):
    pipe, text = cases.pipe(task), GIVEN.get(task, "a")
    monkeypatch.setattr(pipe, "_said", set())
    results = [pipe(text, **options) for _ in range(2)]
    assert count in (None, *map(len, results))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (said is not None)
    assert said is None or messages[0].startswith(f"{task}: {said}")


@pytest.mark.parametrize("none", [[], ()])
def test_no_texts_give_an_array_of_no_rows(none):
    """As wide as any other, so that it multiplies; of other tasks a list."""
    pipe = cases.pipe("sentence-embedding")
    found = pipe(none)
    assert (found.shape, found.dtype) == ((0, 12), np.float32)
    assert (found @ pipe(["a", "cat"]).T).shape == (0, 2)
    assert np.concatenate([found, pipe(["a"])]).shape == (1, 12)
    assert [pipe(none) for pipe in map(cases.pipe, ("fill-mask", "token-classification"))] == [[], []]
    assert list(pipe(iter(none))) == []
