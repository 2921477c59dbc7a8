"""The built-in corpus: its text, its splits, its entropy floor and its baselines."""

import hashlib
import itertools
import math
from collections import Counter

import pytest
from scipy import stats

from train.data.builtin import TEXT, WORDS_PER_SENTENCE, Grammar, entropy_floor, generate_corpus, generate_document
from train.data.builtin.baselines import (
    BigramModel,
    baseline_table,
    order_classifier_accuracy,
    order_pairs,
    word_stream,
)
from train.data.builtin.entropy import agent_probabilities
from train.data.builtin.lexicon import DEFAULT_LEXICON, Lexicon


@pytest.fixture(scope="module")
def training():
    return list(generate_corpus(0, "train", 4000))


@pytest.fixture(scope="module")
def heldout():
    return list(generate_corpus(0, "heldout", 1000))


def test_the_text_has_its_digest():
    """Caches, earlier runs and published numbers refer to this text: another text needs another `TEXT`."""
    text = hashlib.sha256()
    for seed, split, count in ((0, "train", 2000), (0, "heldout", 1000), (3, "train", 500)):
        for document in generate_corpus(seed, split, count):
            text.update(("\n".join(document.sentences) + "\n\n").encode())
    assert text.hexdigest() == "c436b705a5e498e7db43e73a61dc73e42084c836f88492060a54cdaf52906fb6"
    assert hashlib.sha256("".join(TEXT).encode()).hexdigest()[:16] == "5a078b1a34bfccd1"


def test_document_depends_only_on_seed_split_and_index():
    assert generate_document(3, "train", 5) == list(generate_corpus(3, "train", 6))[5]
    keys = [(3, "train", 5), (4, "train", 5), (3, "heldout", 5), (3, "train", 6)]
    assert len({generate_document(*key).sentences for key in keys}) == 4


@pytest.mark.parametrize(("seed", "split", "index"), [(0, "test", 0), (-1, "train", 0), (0, "train", -1)])
def test_invalid_split_seed_or_index_raises(seed, split, index):
    with pytest.raises(ValueError, match=r"splits train and heldout|needs seed >= 0 and index >= 0"):
        generate_document(seed, split, index)


def test_events_follow_from_each_other(training):
    """Each event is one day, one place and one action further, and has another agent of the cast."""
    days, places = DEFAULT_LEXICON.days, DEFAULT_LEXICON.places
    for document in training[:200]:
        setting = document.setting
        actions = [forms[setting.tense] for forms in DEFAULT_LEXICON.trades[setting.trade].actions]
        for event, following in itertools.pairwise(document.events):
            for ring, role in ((days, "day"), (places, "place"), (actions, "action")):
                step = ring.index(getattr(following, role)) - ring.index(getattr(event, role))
                assert step % len(ring) == 1
            assert following.agent != event.agent
            assert {event.agent, following.agent} <= set(setting.cast)
            assert (following.item, following.quality) == (setting.item, setting.quality)


def test_spans_have_the_word_of_each_role(training):
    document = training[0]
    for index, sentence in enumerate(document.sentences):
        for span in document.spans(index):
            assert sentence[span.start : span.end] == span.text == getattr(document.events[index], span.role)


def test_heldout_pairs_are_unseen_and_heldout_words_are_seen(training, heldout):
    pairs = [
        {(event.agent, event.item) for document in documents for event in document.events}
        for documents in (training, heldout)
    ]
    assert pairs[0]
    assert pairs[1]
    assert not pairs[0] & pairs[1]
    events = [{event for document in documents for event in document.events} for documents in (training, heldout)]
    assert not events[0] & events[1]
    words = [{word for document in documents for word in word_stream(document)} for documents in (training, heldout)]
    assert words[1] <= words[0]


def test_words_do_not_reveal_their_position_in_a_document(training):
    """Rings start uniformly and casts are exchangeable, so the first and the last sentence have the same words.

    Chi-squared over the words of each ring is below its 99.9% quantile, under 21 for up to 5 degrees of freedom.
    """
    for role in ("day", "place"):
        first, last = (Counter(getattr(document.events[end], role) for document in training) for end in (0, -1))
        expected = len(training) / len(first)
        for counts in (first, last):
            assert sum((count - expected) ** 2 / expected for count in counts.values()) < 21


def test_agent_probabilities_equal_enumeration():
    """Enumerates all casts and derivations of a tiny grammar and conditions on the names that are seen."""
    people, cast_size, length = "abcde", 3, 4
    totals = Counter()
    for cast in itertools.combinations(people, cast_size):
        for names in itertools.product(cast, repeat=length):
            if all(name != following for name, following in itertools.pairwise(names)):
                totals[names] += 1  # every such sequence has probability 1/3 (1/2)^3 given the cast
    for names in list(totals)[::7]:
        for hidden in range(length):
            seen = [None if index == hidden else name for index, name in enumerate(names)]
            matching = {candidate: totals[(*names[:hidden], candidate, *names[hidden + 1 :])] for candidate in people}
            total = sum(matching.values())
            known, each_new, num_new = agent_probabilities(seen, len(people), cast_size)
            for candidate in people:
                expected = matching[candidate] / total
                if candidate in {name for name in seen if name is not None}:
                    assert math.isclose(known.get(candidate, 0.0), expected)
                else:
                    assert math.isclose(each_new, expected)
            assert math.isclose(sum(known.values()) + num_new * each_new, 1.0)


def test_entropy_floor_depends_on_the_agents():
    """With a cast of two, agents alternate, so a hidden agent between two others is nearly certain."""
    wide = entropy_floor(0, "heldout", num_documents=50)
    pair = entropy_floor(0, "heldout", num_documents=50, grammar=Grammar(cast_size=2))
    assert 0 < pair < wide
    longer = entropy_floor(0, "heldout", window=6, num_documents=50)
    assert longer < wide
    assert entropy_floor(0, "heldout", window=1000, num_documents=50) <= longer
    with pytest.raises(ValueError, match=r"window=1: .* 2 sentences or more"):
        entropy_floor(0, "heldout", window=1)


def test_baselines_are_far_below_the_target_scores(training, heldout):
    """The target of the README's job is below half of the unigram entropy, and above 85% of the orders."""
    streams = [word_stream(document) for document in heldout]
    unigram = stats.entropy(list(Counter(word for stream in streams for word in stream).values()))
    model = BigramModel.fit([word_stream(document) for document in training])
    assert model.cross_entropy(streams) > 0.59 * unigram
    assert model.both_neighbors_cross_entropy(streams) > 0.59 * unigram
    accuracy = order_classifier_accuracy(order_pairs(training[:1500], 0, 3), order_pairs(heldout, 1, 3))
    assert abs(accuracy - 0.5) < 0.05


def test_order_classifier_finds_a_lexical_cue(heldout):
    """The classifier is no straw man: it learns the order when a word reveals it."""
    pairs = [
        ((*first, "early"), second, 0) if label == 0 else (first, (*second, "early"), 1)
        for first, second, label in order_pairs(heldout, 0, 3)
    ]
    assert order_classifier_accuracy(pairs[:1000], pairs[1000:2000]) > 0.95


def test_bigram_model_learns_from_neighbors():
    streams = [["a", "x", "b", "y"] * 5] * 20
    model = BigramModel.fit(streams)
    assert model.cross_entropy(streams) < 0.1


def test_baseline_table_has_every_baseline():
    table = baseline_table(train_documents=300, heldout_documents=50)
    for expected in ("unigram entropy", "bigram model", "both neighbors", "floor", "bag-of-words"):
        assert expected in table


def test_lexicon_raises_for_a_word_in_two_classes():
    with pytest.raises(ValueError, match="anna"):
        Lexicon(people=("anna",), trades=(), qualities=("anna",), days=(), places=())


def test_sentences_have_their_words():
    assert all(len(words) == WORDS_PER_SENTENCE for words in generate_document(0, "train", 0).words)
