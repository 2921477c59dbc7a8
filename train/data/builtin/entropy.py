"""What no model can go below on the built-in corpus, from the grammar's own probabilities."""

import math
from collections.abc import Iterator, Sequence

from train.data.builtin.generator import DEFAULT_GRAMMAR, generate_corpus
from train.data.builtin.grammar import Grammar

# Share of the masked positions that do not show their word: 80% [MASK] and 10% another word.
_HIDDEN_SHARE = 0.9


def entropy_floor(
    seed: int, split: str, *, window: int = 3, num_documents: int = 1000, grammar: Grammar = DEFAULT_GRAMMAR
) -> float:
    """A lower bound of the masked-word loss, in nats per word: 0.9 H(word | the other words of its window).

    A model that sees a window of `window` sentences with some words hidden knows at most all the others, and knowing
    less never lowers the expected loss: so H(word | all other words of the window), averaged over the words, bounds it.
    Of the masked positions a tenth shows the word itself and may cost nothing; a random word in place of another tells
    nothing about it. Full stops count as words of no entropy.

    Of a window of two sentences or more, all but the agents follows from the other sentences: days, places and actions
    are steps on rings, quality and item stay. What is left is H(agent | the other agents of the window), which follows
    exactly from the number of casts that hold the names seen (see `agent_probabilities`).

    Args:
        seed: of the corpus.
        split: "train" or "heldout"; the bound knows which pairs of persons and items the split may hold.
        window: sentences that a row holds; more of them only lower the bound, and a document has no more than it has.
        num_documents: documents to average over, from the first.
        grammar: the grammar.

    Raises:
        ValueError: for a window of one sentence, where more than the agents is uncertain.
    """
    if window < 2:
        raise ValueError(f"a window of {window} sentence leaves more than its agent open; the bound needs 2 or more")
    entropies, words = [], 0
    for document in generate_corpus(seed, split, num_documents, grammar=grammar):
        names = [event.agent for event in document.events]
        num_people = len(grammar.people(document.setting.item, split))
        for start in range(max(len(names) - window, 0) + 1):
            seen = names[start : start + window]
            entropies += [_entropy(seen, place, num_people, grammar.cast_size) for place in range(len(seen))]
            words += sum(len(event.words) for event in document.events[start : start + window])
    return _HIDDEN_SHARE * sum(entropies) / words


def agent_probabilities(
    names: Sequence[str | None], num_people: int, cast_size: int
) -> tuple[dict[str, float], float, int]:
    """p(the agent that is None | the others), for agents of consecutive events.

    Each event's agent is one of the cast, the last one excepted, all equally likely: so every sequence without a
    repetition in neighbors is equally likely given the cast, and p(sequence) is proportional to the number of casts
    that hold its k names, C(people - k, cast size - k).

    Returns:
        The probability of each name seen elsewhere in the window, that of each name not seen, and the number of these.
    """
    hidden = names.index(None)
    neighbors = {names[place] for place in (hidden - 1, hidden + 1) if 0 <= place < len(names)}
    known = {name for name in names if name is not None}
    old_weight = _casts(num_people, cast_size, len(known))
    new_weight = _casts(num_people, cast_size, len(known) + 1)
    weights = {name: float(old_weight) for name in known if name not in neighbors}
    num_new = num_people - len(known)
    total = sum(weights.values()) + num_new * new_weight
    return {name: weight / total for name, weight in weights.items()}, new_weight / total, num_new


def _entropy(names: Sequence[str], place: int, num_people: int, cast_size: int) -> float:
    hidden = [None if index == place else name for index, name in enumerate(names)]
    seen, each_new, num_new = agent_probabilities(hidden, num_people, cast_size)
    return -sum(p * math.log(p) for p in _positive([*seen.values(), *[each_new] * num_new]))


def _positive(values: Sequence[float]) -> Iterator[float]:
    return (value for value in values if value > 0)


def _casts(num_people: int, cast_size: int, num_known: int) -> int:
    if num_known > cast_size:
        return 0
    return math.comb(num_people - num_known, cast_size - num_known)


def unigram_entropy(counts: Sequence[int]) -> float:
    """-sum p ln p of relative frequencies, in nats."""
    total = sum(counts)
    return -sum(count / total * math.log(count / total) for count in counts if count > 0)
