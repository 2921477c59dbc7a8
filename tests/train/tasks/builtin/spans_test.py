"""The built-in tasks "spans": answers are at their positions, fill the blank, and are balanced over the sentences."""

from collections import Counter

import pytest

from train.data.builtin.baselines import order_classifier_accuracy
from train.data.builtin.lexicon import DEFAULT_LEXICON
from train.tasks.builtin import SPANS, SPANS_V2


@pytest.fixture(scope="module")
def answered():
    return SPANS.data(num_train=2000, num_evaluation=400)


@pytest.fixture(scope="module")
def partly():
    return SPANS_V2.data(num_train=2000, num_evaluation=400)


def filled(example):
    """Returns the question with the blank filled by the answer, without the full stop."""
    return example.question.rstrip(".").replace("?", example.answers[0].text)


def sentences_of(context):
    """Returns the sentences without their qualities."""
    return [
        " ".join((*words[:3], *words[4:]))
        for words in (part.split() for part in context.rstrip(".").split("."))
        if words
    ]


def test_answers_are_at_their_positions(answered):
    for example in (*answered.train, *answered.evaluation["heldout"]):
        (answer,) = example.answers
        assert example.context[answer.start : answer.start + len(answer.text)] == answer.text
        before, after = example.context[: answer.start], example.context[answer.start + len(answer.text) :]
        assert before[-1:] in ("", " ")
        assert after[:1] in (" ", ".")


def test_answer_fills_the_blank_of_its_sentence(answered):
    for example in answered.train:
        number = sentences_of(example.context).index(filled(example))
        first_sentence = example.context.index(".")
        assert (example.answers[0].start > first_sentence) == (number == 1)


def test_roles_and_sentences_are_balanced(answered):
    blanks = Counter(example.question.rstrip(".").split().index("?") for example in answered.train)
    assert blanks == dict.fromkeys((0, 1, 2, 4), 500)  # day, person, action, place
    second = sum(example.answers[0].start > example.context.index(".") for example in answered.train)
    assert abs(second / 2000 - 0.5) < 0.05


def test_a_third_has_no_answer_and_the_others_are_the_same(answered, partly):
    missing = [not example.answers for example in partly.train]
    assert abs(sum(missing) / len(missing) - 1 / 3) < 0.04
    for without, example, full in zip(missing, partly.train, answered.train, strict=True):
        assert example.context == full.context
        assert without or example == full


def test_no_sentence_of_the_text_fits_a_question_without_answer(partly):
    for example in partly.train:
        if example.answers:
            continue
        before, after = example.question.rstrip(".").split("?")
        sentences = sentences_of(example.context)
        assert not any(sentence.startswith(before) and sentence.endswith(after) for sentence in sentences)


def test_question_without_answer_is_of_known_words(partly):
    words = {word for example in partly.train for word in example.question.rstrip(".").split()}
    assert words - {"?"} <= set(DEFAULT_LEXICON.words)


def test_bag_of_words_does_not_find_unanswerable_questions(partly):
    """It is no better than always predicting that there is an answer."""

    def pairs(examples):
        return [
            (example.question.rstrip(".").split(), example.context.replace(".", "").split(), int(not example.answers))
            for example in examples
        ]

    heldout = pairs(partly.evaluation["heldout"])
    always = sum(label == 0 for *_, label in heldout) / len(heldout)
    assert order_classifier_accuracy(pairs(partly.train), heldout) < always + 0.05
