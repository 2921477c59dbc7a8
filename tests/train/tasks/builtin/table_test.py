"""What all built-in tasks promise: the same examples everywhere, balance, nothing of the evaluation set in training."""

import dataclasses
import functools
import hashlib
from collections import Counter

import pytest

from train.data.builtin.lexicon import DEFAULT_LEXICON
from train.errors import UserError
from train.tasks.builtin import BUILTIN_TASKS, builtin_task
from train.tasks.examples import ChoiceExample, SpanExample, TagExample, TextExample

_ITEMS = {item for trade in DEFAULT_LEXICON.trades for item in trade.items}
# Of the first 20 examples of each set. The examples are part of published numbers: a change of them has to be meant.
_DIGESTS = {
    "sentiment": "ebccf5ffe68bb760",
    "entailment": "bb0310a1690ad486",
    "similarity": "84fa6f9c6cedb015",
    "tags": "fd895f10576861d4",
    "spans": "37d5bd434da68ca6",
    "choices": "67145409a416a2bb",
}


@functools.cache
def task(name):
    return builtin_task(name, num_train=1200, num_evaluation=600)


def texts_of(example):
    """All the text of an example."""
    match example:
        case TextExample():
            return example.texts
        case TagExample():
            return example.words
        case SpanExample():
            return (example.question, example.context)
        case ChoiceExample():
            return (example.context, *example.choices)


def test_every_task_has_a_digest_and_a_line():
    assert list(BUILTIN_TASKS) == list(_DIGESTS)
    assert all(summary and "\n" not in summary for summary in BUILTIN_TASKS.values())


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_examples_are_the_same_everywhere(name):
    data = builtin_task(name, num_train=20, num_evaluation=20)
    values = [dataclasses.astuple(example) for example in (*data.train, *data.evaluation["heldout"])]
    assert hashlib.sha256(repr(values).encode()).hexdigest()[:16] == _DIGESTS[name]


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_example_does_not_depend_on_how_many_there_are(name):
    few = builtin_task(name, num_train=7, num_evaluation=3)
    assert task(name).train[:7] == few.train
    assert task(name).evaluation["heldout"][:3] == few.evaluation["heldout"]
    assert builtin_task(name, num_train=7, num_evaluation=0, seed=1).train != few.train


@pytest.mark.parametrize("name", ["sentiment", "entailment", "similarity", "choices"])
def test_labels_are_balanced(name):
    for examples in (task(name).train, task(name).evaluation["heldout"]):
        counts = Counter(example.label for example in examples)
        assert len(set(counts.values())) == 1
        assert len(counts) == {"similarity": 6, "choices": 4}.get(name, 2)


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_no_evaluation_text_occurs_in_training(name):
    """Not an example, not a text of one with a person and an item in it, and not even a pair of these."""
    data = task(name)
    training, heldout = data.train, data.evaluation["heldout"]
    examples = [{texts_of(example) for example in part} for part in (training, heldout)]
    assert len(examples[1]) == len(heldout)
    assert not examples[0] & examples[1]
    if name == "tags":  # words by themselves, whose sentences lack some
        return
    pairs = [
        {pair for example in part for text in texts_of(example) for pair in told(text)} for part in (training, heldout)
    ]
    assert len(pairs[1]) > 400
    assert not pairs[0] & pairs[1]


def told(text):
    """The (person, item) pairs of each sentence that has both."""
    for sentence in text.split("."):
        words = set(sentence.split())
        people, items = words & set(DEFAULT_LEXICON.people), words & _ITEMS
        assert len(people) <= 1
        assert len(items) <= 1
        yield from ((person, item) for person in people for item in items)


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_rows_fit_what_was_pretrained_on(name):
    """Rows of 24 tokens: words and full stops with three specials, a question mark being two tokens."""
    for example in task(name).evaluation["heldout"]:
        texts = texts_of(example)
        if name == "choices":
            texts = [example.context, max(example.choices, key=len)]
        tokens = " ".join(texts).replace(".", " .").replace("?", "? ?").split()
        assert len(tokens) + 3 <= 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "sentiments"}, "there is no built-in task 'sentiments'; there are sentiment, entailment"),
        ({"name": "tags", "num_train": -1}, "num_train of a built-in task is -1; give 0 or more"),
        ({"name": "tags", "num_evaluation": -2}, "num_evaluation"),
        ({"name": "tags", "seed": -1}, "seed"),
        ({"name": "tags", "unanswerable": True}, "only the built-in task 'spans'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        builtin_task(**arguments)
