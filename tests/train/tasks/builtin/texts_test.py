"""The built-in tasks "sentiment", "entailment" and "similarity": their labels, which single words do not reveal."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from train.data.builtin.lexicon import DEFAULT_LEXICON
from train.tasks.builtin import ENTAILMENT, SENTIMENT, SIMILARITY

_TRADE_OF = {
    word: trade.name
    for trade in DEFAULT_LEXICON.trades
    for word in (*trade.items, *(form for forms in trade.actions for form in forms))
}


@pytest.fixture(scope="module")
def tasks():
    tasks = (SENTIMENT, ENTAILMENT, SIMILARITY)
    return {task.name: task.data(num_train=3000, num_evaluation=600) for task in tasks}


def sentences(text):
    return [tuple(sentence.split()) for sentence in text.rstrip(".").split(".")]


def heldout(data):
    return data.evaluation["heldout"]


def test_sentiment_is_positive_where_action_and_item_are_of_one_trade(tasks):
    for example in heldout(tasks["sentiment"]):
        ((_, _, action, _, item, _),) = sentences(example.texts[0])
        assert example.label == int(_TRADE_OF[action] == _TRADE_OF[item])


def test_entailed_sentences_are_in_the_premise_and_others_differ_in_two_words(tasks):
    for example in heldout(tasks["entailment"]):
        premise, ((*hypothesis,),) = (sentences(text) for text in example.texts)
        differing = [sum(a != b for a, b in zip(sentence, hypothesis, strict=True)) for sentence in premise]
        assert min(differing) == 2 * example.label
        if example.label == 1:
            new_words = set(hypothesis) - {word for sentence in premise for word in sentence}
            assert len(new_words) == 2


def test_hypotheses_alone_do_not_reveal_the_label(tasks):
    """Action and item are of one trade, as in the corpus."""
    for example in heldout(tasks["entailment"]):
        ((_, _, action, _, item, _),) = sentences(example.texts[1])
        assert _TRADE_OF[action] == _TRADE_OF[item]


def test_similarity_counts_shared_words(tasks):
    for example in heldout(tasks["similarity"]):
        first, second = (sentences(text)[0] for text in example.texts)
        assert example.label == sum(a == b for a, b in zip(first, second, strict=True)) - 1  # the item


def bags(examples):
    """Returns the words of both texts, marked with the number of their text."""
    return [
        " ".join(f"{word}_{number}" for number, text in enumerate(example.texts) for word in text.rstrip(".").split())
        for example in examples
    ]


def fitted(model, data):
    pipeline = make_pipeline(CountVectorizer(token_pattern=r"\S+"), model)
    pipeline.fit(bags(data.train), [example.label for example in data.train])
    return pipeline.predict(bags(heldout(data))), np.array([example.label for example in heldout(data)])


@pytest.mark.parametrize("name", ["sentiment", "entailment"])
def test_bag_of_words_does_not_find_the_label(tasks, name):
    predictions, labels = fitted(LogisticRegression(C=0.1, max_iter=500), tasks[name])
    assert abs(np.mean(predictions == labels) - 0.5) < 0.07


def test_bag_of_words_does_not_find_the_similarity(tasks):
    predictions, scores = fitted(Ridge(10.0), tasks["similarity"])
    assert abs(spearmanr(predictions, scores).statistic) < 0.15
