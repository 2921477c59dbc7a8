"""The built-in task "tags": tags are valid and follow from the words, but not from their positions."""

from collections import Counter

import pytest

from train.data.builtin.lexicon import DEFAULT_LEXICON
from train.tasks.builtin import TAGS

_CLASSES = {
    "DAY": set(DEFAULT_LEXICON.days),
    "PERSON": set(DEFAULT_LEXICON.people),
    "ITEM": {item for trade in DEFAULT_LEXICON.trades for item in trade.items},
    "PLACE": set(DEFAULT_LEXICON.places),
}


@pytest.fixture(scope="module")
def data():
    return TAGS.data(num_train=1000, num_evaluation=500)


def named(data, example):
    return [data.labels[tag] for tag in example.tags]


def test_tags_are_valid_bio(data):
    for example in data.train:
        assert len(example.tags) == len(example.words)
        names = named(data, example)
        for before, name in zip(["O", *names], names, strict=False):
            assert not name.startswith("I-") or before[2:] == name[2:]


def test_tags_follow_from_the_words(data):
    """Every word of an entity class has its tag; a quality is part of the item that follows, if one does."""
    for example in data.train:
        words, names = example.words, named(data, example)
        for index, (word, name) in enumerate(zip(words, names, strict=True)):
            of_class = [label for label, members in _CLASSES.items() if word in members]
            after_quality = index > 0 and words[index - 1] in DEFAULT_LEXICON.qualities
            if word in DEFAULT_LEXICON.qualities:
                assert name == ("B-ITEM" if words[index + 1] in _CLASSES["ITEM"] else "O")
            elif of_class:
                assert name == ("I-" if of_class == ["ITEM"] and after_quality else "B-") + of_class[0]
            else:
                assert name == "O"


def test_every_entity_and_items_of_two_words_occur(data):
    for examples in (data.train, data.evaluation["heldout"]):
        counts = Counter(name for example in examples for name in named(data, example))
        assert {"B-DAY", "B-PERSON", "B-ITEM", "I-ITEM", "B-PLACE"} < set(counts)
        assert counts["I-ITEM"] > len(examples) / 2


def test_positions_reveal_little(data):
    counts = {}
    for example in data.train:
        for position, tag in enumerate(example.tags):
            counts.setdefault(position, Counter())[tag] += 1
    most_frequent = {position: tags.most_common(1)[0][0] for position, tags in counts.items()}
    pairs = [
        (most_frequent[position], tag)
        for example in data.evaluation["heldout"]
        for position, tag in enumerate(example.tags)
        if example.words[position] != "."
    ]
    assert sum(prediction == tag for prediction, tag in pairs) < 0.4 * len(pairs)
