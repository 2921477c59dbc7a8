"""A lower bound of the masked-word loss on the built-in corpus, from the probabilities of its grammar."""

import math
from collections.abc import Iterator, Sequence

from train.data.builtin.generator import DEFAULT_GRAMMAR, generate_corpus
from train.data.builtin.grammar import Grammar

# Share of the masked positions that do not show their own word: 80% [MASK] and 10% a random word.
_HIDDEN_SHARE = 0.9


def entropy_floor(
    seed: int, split: str, *, window: int = 3, num_documents: int = 1000, grammar: Grammar = DEFAULT_GRAMMAR
) -> float:
    """Computes a lower bound of the masked-word loss, in nats per word: 0.9 H(word | the other words of its window).

    A model that reads a window of `window` sentences with masked words knows at most all other words of the window.
    Knowing less never lowers the expected loss, so the loss is at least H(word | all other words of the window),
    averaged over the words. One tenth of the masked positions show the word itself and may cost nothing, hence 0.9; a
    random replacement carries no information about the word. Full stops count as words with zero entropy.

    In a window of two or more sentences, the other sentences determine every word but the agents: days, places and
    actions advance on rings, and the quality and the item do not change. What remains is H(agent | the other agents of
    the window), which is exact from the number of casts that contain the names seen (see `agent_probabilities`).

    Args:
        seed: seed of the corpus.
        split: "train" or "heldout"; the splits allow different pairs of person and item.
        window: number of sentences in a row. A larger window lowers the bound; windows end with the document.
        num_documents: number of documents to average over, from document 0.
        grammar: the grammar of the corpus.

    Raises:
        ValueError: if the window is one sentence, where more than the agents is uncertain.
    """
    if window < 2:
        raise ValueError(f"window={window}: the bound needs a window of 2 sentences or more")
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
    """Computes p(hidden agent | the other agents) for the agents of consecutive events, of which one is None.

    Each agent is drawn uniformly from the cast without the previous agent. Given the cast, all sequences without equal
    neighbors are therefore equally likely, and p(sequence) is proportional to the number of casts that contain its k
    names, C(people - k, cast size - k).

    Returns:
        The probability of each name seen elsewhere in the window, the probability of each single unseen name, and the
        number of unseen names.
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
