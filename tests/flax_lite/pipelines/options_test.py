"""Options given to the wrong function, under another name, or beyond what the head and the vocabulary have."""

import re

import numpy as np
import pytest

import flax_lite as fl
from tests.flax_lite.pipelines import cases

GIVEN = {"fill-mask": "[MASK]", "question-answering": {"question": "cat", "context": "the cat"}}
# Task, an option that its calls do not take, the hint, and the options that calls take.
MISPLACED = [
    ("sentence-embedding", {"normalize": True}, "normalize belongs to pipeline()", "batch_size"),
    ("sentence-embedding", {"pooling": "cls"}, "pooling belongs to pipeline()", "batch_size"),
    ("sentence-embedding", {"truncate_dim": 8}, "take the first columns of the result", "batch_size"),
    ("fill-mask", {"batchsize": 8}, "there is no batchsize, did you mean batch_size?", "top_k, targets, batch_size"),
    ("token-classification", {"stride": 16}, "are truncated to the max_length", "aggregation_strategy, ignore_labels"),
    ("token-classification", {"grouped_entities": True}, "aggregation_strategy='simple'", "aggregation_strategy, ig"),
    ("token-classification", {"aggregation": "max"}, "did you mean aggregation_strategy?", "aggregation_strategy, ig"),
    ("text-classification", {"return_all_scores": True}, "give top_k=None", "top_k, function_to_apply"),
    ("text-classification", {"max_length": 9}, "max_length belongs to pipeline()", "top_k, function_to_apply"),
    ("text-classification", {"chunk_size": 9}, "chunk_size belongs to stream()", "top_k, function_to_apply"),
    ("fill-mask", {"topk": 3, "device": 0}, "did you mean top_k?; for device, JAX computes", "top_k, targets"),
    ("fill-mask", {"pooling": "cls"}, "there is no pooling", "top_k, targets"),
    ("feature-extraction", {"return_tensor": True}, "did you mean return_tensors?", "return_tensors, batch_size"),
    ("question-answering", {"max_seq_len": 9}, "give pipeline() a max_length", "top_k, handle_impossible_answer"),
]


@pytest.mark.parametrize(("task", "options", "hint", "call_options"), MISPLACED)
def test_a_misplaced_option_is_an_error_with_a_hint(task, options, hint, call_options):
    """In a call, in a stream, and in pipeline() unless it belongs there."""
    pipe, text = cases.pipe(task), GIVEN.get(task, "a")
    calls = [lambda: pipe(text, **options)]
    if "stream()" not in hint:
        calls.append(lambda: pipe.stream([text], **options))
    if "pipeline()" not in hint or "belongs" not in hint:
        calls.append(lambda: fl.pipeline(task, pipe.model, tokenizer=pipe.tokenizer, **options))
    names = " and no ".join(options)
    for call in calls:
        with pytest.raises(
            TypeError, match=f"^{task} takes no {names} here: .*{re.escape(hint)}.* takes {call_options}.*; st"
        ):
            call()


# Task, changes of the default model, an option that the head or the vocabulary cannot satisfy, the error.
REFUSED = [
    ("fill-mask", {}, {"targets": ["cat", "zebra"]}, "target 'zebra' is not in the vocabulary"),
    ("fill-mask", {}, {"targets": "日"}, "target '日' is not in the vocabulary"),
    ("fill-mask", {}, {"targets": [""]}, "target '' is 0 tokens"),
    ("fill-mask", {}, {"targets": ["cat", 3]}, "targets=['cat', 3]; expected a token or a list of tokens"),
    ("fill-mask", {}, {"targets": 3}, "targets=3; expected a token or a list of tokens"),
    ("fill-mask", {}, {"top_k": None}, "top_k=None; expected a whole number of tokens, at least 1"),
    ("fill-mask", {}, {"top_k": 2.0}, "top_k=2.0; expected a whole number of tokens, at least 1"),
    (
        "text-classification",
        {"labels": ("good",)},
        {"function_to_apply": "softmax"},
        "of a model with one label is always 1",
    ),
    ("text-classification", {}, {"top_k": True}, "top_k=True; expected a whole number of labels, at least 1, or None"),
    ("text-classification", {}, {"top_k": 1.5}, "top_k=1.5; expected a whole number of labels"),
    ("token-classification", {}, {"ignore_labels": None}, "ignore_labels=None; expected a collection of labels"),
    ("feature-extraction", {}, {"return_tensors": "pt"}, "return_tensors='pt'; expected True (arrays) or False"),
    ("question-answering", {}, {"top_k": "2"}, "top_k='2'; expected a whole number, at least 1"),
    ("question-answering", {}, {"max_answer_len": 0}, "max_answer_len=0; expected at least 1"),
    ("question-answering", {}, {"doc_stride": 1.5}, "doc_stride=1.5; expected a whole number, at least 0"),
]


@pytest.mark.parametrize(("task", "changes", "options", "message"), REFUSED)
def test_an_invalid_option_is_refused(task, changes, options, message):
    pipe = cases.pipe(task, **changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        pipe(GIVEN.get(task, "a"), **options)


@pytest.mark.parametrize("sizes", [{"max_length": 16.0}, {"batch_size": 1.5}, {"batch_size": True}])
def test_sizes_are_whole_numbers(sizes):
    pipe = cases.pipe("fill-mask")
    with pytest.raises(ValueError, match="; expected a whole number, at least 1"):
        fl.pipeline("fill-mask", pipe.model, tokenizer=pipe.tokenizer, **sizes)


# Task, an option that asks for more than exists, the warning, and the number of results.
WARNED = [
    ("text-classification", {"top_k": 4}, "top_k=4, but the model has 3 labels: results contain all of them", 3),
    ("fill-mask", {"top_k": 99}, "top_k=99, but the vocabulary has 22 pieces: results contain all of them", 22),
    (
        "token-classification",
        {"ignore_labels": ["LOC", "ORG"]},
        "ignore_labels has ORG, but the model has only O, B-",
        None,
    ),
    ("token-classification", {"ignore_labels": ["0"]}, "ignore_labels has 0, but the model has only O, B-PER", None),
    ("text-classification", {"top_k": 3}, None, 3),
    ("fill-mask", {"top_k": 99, "targets": ["cat", "sat", "cat"]}, None, 2),
    ("token-classification", {"ignore_labels": ["O", "PER", "I-LOC"]}, None, None),
    ("token-classification", {"ignore_labels": ()}, None, None),
]


@pytest.mark.parametrize(("task", "options", "warning", "count"), WARNED)
def test_an_option_beyond_the_model_warns_once(task, options, warning, count, caplog, monkeypatch):
    pipe, text = cases.pipe(task), GIVEN.get(task, "a")
    monkeypatch.setattr(pipe, "_warned", set())
    results = [pipe(text, **options) for _ in range(2)]
    assert count in (None, *map(len, results))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (warning is not None)
    assert warning is None or messages[0].startswith(f"{task}: {warning}")


@pytest.mark.parametrize("empty", [[], ()])
def test_no_texts_give_an_array_of_no_rows(empty):
    """It is as wide as any other, for products and concatenation; other tasks return an empty list."""
    pipe = cases.pipe("sentence-embedding")
    found = pipe(empty)
    assert (found.shape, found.dtype) == ((0, 12), np.float32)
    assert (found @ pipe(["a", "cat"]).T).shape == (0, 2)
    assert np.concatenate([found, pipe(["a"])]).shape == (1, 12)
    assert [pipe(empty) for pipe in map(cases.pipe, ("fill-mask", "token-classification"))] == [[], []]
    assert list(pipe(iter(empty))) == []
