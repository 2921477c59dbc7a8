"""The built-in task "choices": the correct choice follows on the rings, which the choices alone do not reveal."""

import itertools
from collections import Counter

import pytest

from train.data.builtin.baselines import order_classifier_accuracy
from train.data.builtin.lexicon import DEFAULT_LEXICON
from train.tasks.builtin import CHOICES


@pytest.fixture(scope="module")
def data():
    return CHOICES.data(num_train=3000, num_evaluation=600)


def follows(context, choice):
    """Returns whether day, place and action are each one step further, determined from the words."""
    (day, agent, action, quality, item, place), following = context, choice
    rings = {day: DEFAULT_LEXICON.days, place: DEFAULT_LEXICON.places}
    for trade in DEFAULT_LEXICON.trades:
        for forms in zip(*trade.actions, strict=True):
            if action in forms:
                rings[action] = forms
    steps = {word: (*ring, ring[0])[ring.index(word) + 1] for word, ring in rings.items()}
    assert (following[3], following[4]) == (quality, item)
    assert following[1] != agent
    return (following[0], following[2], following[5]) == (steps[day], steps[action], steps[place])


def words(sentence):
    return tuple(sentence.rstrip(".").split())


def test_only_the_correct_choice_follows(data):
    for example in (*data.train, *data.evaluation["heldout"]):
        correct = [follows(words(example.context), words(choice)) for choice in example.choices]
        assert correct == [number == example.label for number in range(4)]


def test_the_choices_alone_do_not_reveal_the_answer(data):
    """Two roles vary, with two words each, and every combination occurs once."""
    varying = Counter()
    for example in data.train:
        columns = [Counter(column) for column in zip(*(words(choice) for choice in example.choices), strict=True)]
        roles = [number for number, counts in enumerate(columns) if len(counts) > 1]
        assert all(sorted(columns[number].values()) == [2, 2] for number in roles)
        assert len(set(example.choices)) == 4
        assert len(roles) == 2
        varying[tuple(roles)] += 1
    assert set(varying) == set(itertools.combinations((0, 2, 5), 2))
    assert min(varying.values()) > 900


def test_bag_of_words_does_not_find_the_correct_choice(data):
    def pairs(examples):
        for index, example in enumerate(examples):
            choice = (example.label + index % 2) % 4
            yield words(example.context), words(example.choices[choice]), index % 2

    accuracy = order_classifier_accuracy(list(pairs(data.train)), list(pairs(data.evaluation["heldout"])))
    assert abs(accuracy - 0.5) < 0.07
