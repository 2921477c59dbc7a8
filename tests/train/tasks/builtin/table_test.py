"""All built-in tasks: deterministic examples, balanced labels, and no evaluation text in the training set."""

import dataclasses
import functools
import hashlib
from collections import Counter

import pytest

from train.data.builtin.lexicon import DEFAULT_LEXICON
from train.errors import UserError
from train.tasks import builtin
from train.tasks.examples import ChoiceExample, SpanExample, TagExample, TextExample

_ITEMS = {item for trade in DEFAULT_LEXICON.trades for item in trade.items}
# Digests of the first 20 examples of each set. Published numbers depend on the examples.
_DIGESTS = {
    "sentiment": "ebccf5ffe68bb760",
    "entailment": "bb0310a1690ad486",
    "similarity": "84fa6f9c6cedb015",
    "tags": "fd895f10576861d4",
    "spans": "37d5bd434da68ca6",
    "choices": "67145409a416a2bb",
}


BUILTIN_TASKS = {
    task.name: task
    for task in (
        *(builtin.SENTIMENT, builtin.ENTAILMENT, builtin.SIMILARITY),
        *(builtin.TAGS, builtin.SPANS, builtin.CHOICES),
    )
}


@functools.cache
def task(name):
    return BUILTIN_TASKS[name].data(num_train=1200, num_evaluation=600)


def texts_of(example):
    """Returns all texts of an example."""
    match example:
        case TextExample():
            return example.texts
        case TagExample():
            return example.words
        case SpanExample():
            return (example.question, example.context)
        case ChoiceExample():
            return (example.context, *example.choices)


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_examples_are_the_same_everywhere(name):
    data = BUILTIN_TASKS[name].data(num_train=20, num_evaluation=20)
    values = [dataclasses.astuple(example) for example in (*data.train, *data.evaluation["heldout"])]
    assert hashlib.sha256(repr(values).encode()).hexdigest()[:16] == _DIGESTS[name]


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_examples_do_not_depend_on_their_number(name):
    few = BUILTIN_TASKS[name].data(num_train=7, num_evaluation=3)
    assert task(name).train[:7] == few.train
    assert task(name).evaluation["heldout"][:3] == few.evaluation["heldout"]
    assert BUILTIN_TASKS[name].data(num_train=7, num_evaluation=0, seed=1).train != few.train


@pytest.mark.parametrize("name", ["sentiment", "entailment", "similarity", "choices"])
def test_labels_are_balanced(name):
    for examples in (task(name).train, task(name).evaluation["heldout"]):
        counts = Counter(example.label for example in examples)
        assert len(set(counts.values())) == 1
        assert len(counts) == {"similarity": 6, "choices": 4}.get(name, 2)


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_no_evaluation_text_occurs_in_training(name):
    """Neither an example nor a pair of person and item occurs in both sets."""
    data = task(name)
    training, heldout = data.train, data.evaluation["heldout"]
    examples = [{texts_of(example) for example in part} for part in (training, heldout)]
    assert len(examples[1]) == len(heldout)
    assert not examples[0] & examples[1]
    if name == "tags":  # its texts are single words
        return
    pairs = [
        {pair for example in part for text in texts_of(example) for pair in pairs_of(text)}
        for part in (training, heldout)
    ]
    assert len(pairs[1]) > 400
    assert not pairs[0] & pairs[1]


def pairs_of(text):
    """Yields the (person, item) pair of each sentence that has both."""
    for sentence in text.split("."):
        words = set(sentence.split())
        people, items = words & set(DEFAULT_LEXICON.people), words & _ITEMS
        assert len(people) <= 1
        assert len(items) <= 1
        yield from ((person, item) for person in people for item in items)


@pytest.mark.parametrize("name", BUILTIN_TASKS)
def test_examples_fit_into_24_tokens(name):
    """24 is the pretraining length. A row has words, full stops and three special tokens; "?" is two tokens."""
    for example in task(name).evaluation["heldout"]:
        texts = texts_of(example)
        if name == "choices":
            texts = [example.context, max(example.choices, key=len)]
        tokens = " ".join(texts).replace(".", " .").replace("?", "? ?").split()
        assert len(tokens) + 3 <= 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train": -1}, "num_train of a built-in task is -1; give 0 or more"),
        ({"num_evaluation": -2}, "num_evaluation"),
        ({"seed": -1}, "seed"),
    ],
)
def test_negative_numbers_raise(arguments, message):
    with pytest.raises(UserError, match=message):
        builtin.TAGS.data(**arguments)
