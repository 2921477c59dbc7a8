"""Baselines without a transformer on the built-in corpus: `python -m train.data.builtin.baselines`.

A pretraining score on this corpus only means something if these baselines are clearly worse: bigram statistics of both
neighbors for masked words, and bags of words for the order of two segments.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from train.data.builtin.entropy import entropy_floor
from train.data.builtin.generator import generate_corpus
from train.data.builtin.grammar import Document

Segment = Sequence[str]
OrderPair = tuple[Segment, Segment, int]
"""Two segments of words and a label: 0 if they are in order, 1 if they are swapped."""

_CHUNK = 3  # sentences in a row of configs/albert_tiny.py
_EDGE = "\n"  # Precedes the first and follows the last word of a document; no word is a line break.


def word_stream(document: Document) -> list[str]:
    """Returns the words of a document in order, including full stops."""
    return [word for words in document.words for word in words]


class _Vocabulary:
    """Ids of the training words. Id 0 stands for the edge of a document and for unseen words."""

    def __init__(self, streams: Iterable[Sequence[str]]) -> None:
        words = sorted({word for stream in streams for word in stream})
        self.ids = {_EDGE: 0} | {word: number for number, word in enumerate(words, start=1)}

    def __len__(self) -> int:
        return len(self.ids)

    def neighbors(self, streams: Iterable[Sequence[str]]) -> np.ndarray:
        """Returns (left neighbor, word, right neighbor) of every word: int [words, 3]."""
        rows = []
        for stream in streams:
            ids = np.array([0, *(self.ids.get(word, 0) for word in stream), 0])
            rows.append(np.stack([ids[:-2], ids[1:-1], ids[2:]], axis=1))
        return np.concatenate(rows)


def _discounted(counts: np.ndarray, lower: np.ndarray, discount: float = 0.75) -> np.ndarray:
    """p(w | context) with absolute discounting; the discounted mass of each row is redistributed by `lower`."""
    totals = counts.sum(axis=-1, keepdims=True)
    freed = np.where(totals > 0, discount * np.count_nonzero(counts, axis=-1, keepdims=True), 1.0)
    return (np.maximum(counts - discount, 0) + freed * lower) / np.maximum(totals, 1)


@dataclass(frozen=True)
class BigramModel:
    """Bigram models p(w | left) and p(w | right) that back off to p(w), and their combination.

    `forward` and `backward` are [V, V] with one row per neighbor.
    """

    vocabulary: _Vocabulary
    unigram: np.ndarray
    forward: np.ndarray
    backward: np.ndarray

    @classmethod
    def fit(cls, streams: Sequence[Sequence[str]]) -> "BigramModel":
        """Fits the model to training documents, each a sequence of words."""
        vocabulary = _Vocabulary(streams)
        rows, size = vocabulary.neighbors(streams), len(vocabulary)
        unigram = (np.bincount(rows[:, 1], minlength=size) + 0.5) / (len(rows) + 0.5 * size)
        forward, backward = np.zeros((size, size)), np.zeros((size, size))
        np.add.at(forward, (rows[:, 0], rows[:, 1]), 1)
        np.add.at(backward, (rows[:, 2], rows[:, 1]), 1)
        return cls(vocabulary, unigram, _discounted(forward, unigram), _discounted(backward, unigram))

    def cross_entropy(self, streams: Sequence[Sequence[str]]) -> float:
        """Mean -log p(w | left) over the words of held-out documents, in nats per word."""
        rows = self.vocabulary.neighbors(streams)
        return float(-np.log(self.forward[rows[:, 0], rows[:, 1]]).mean())

    def both_neighbors_cross_entropy(self, streams: Sequence[Sequence[str]]) -> float:
        """Mean -log p(w | left, right) in nats per word, with p proportional to sqrt(p(w | left) p(w | right)) / p(w).

        The exponents are the best of a grid on the held-out split. Trigram counts (the words seen between the same two
        neighbors) made it worse, since held-out combinations do not occur in training.
        """
        rows, losses = self.vocabulary.neighbors(streams), []
        for chunk in np.array_split(rows, max(1, len(rows) // 4096)):
            scores = np.sqrt(self.forward[chunk[:, 0]] * self.backward[chunk[:, 2]]) / self.unigram
            losses.append(-np.log(scores[np.arange(len(chunk)), chunk[:, 1]] / scores.sum(axis=1)))
        return float(np.concatenate(losses).mean())


def order_pairs(documents: Iterable[Document], seed: int, chunk: int) -> list[OrderPair]:
    """Builds segment pairs as pretraining does: every `chunk` sentences are split at random, and half are swapped."""
    rng, pairs = np.random.Generator(np.random.PCG64(seed)), []
    for document in documents:
        for start in range(0, len(document.words) - 1, chunk):
            sentences = document.words[start : start + chunk]
            if len(sentences) < 2:
                continue
            cut, swapped = int(rng.integers(1, len(sentences))), int(rng.integers(2))
            first = [word for words in sentences[:cut] for word in words]
            second = [word for words in sentences[cut:] for word in words]
            pairs.append((second, first, 1) if swapped else (first, second, 0))
    return pairs


def _bags(pairs: Sequence[OrderPair], vocabulary: _Vocabulary) -> sparse.csr_array:
    """Word counts of the first and of the second segment: [pairs, 2 * words]."""
    bags = np.zeros((len(pairs), 2, len(vocabulary)))
    for bag, (*segments, _) in zip(bags, pairs, strict=True):
        for counts, segment in zip(bag, segments, strict=True):
            for word in segment:
                counts[vocabulary.ids.get(word, 0)] += 1
    return sparse.csr_array(bags.reshape(len(pairs), -1))


def order_classifier_accuracy(
    train_pairs: Sequence[OrderPair], heldout_pairs: Sequence[OrderPair], ridge: float = 10.0
) -> float:
    """Computes the held-out accuracy of an L2-regularized logistic regression on the word counts of both segments."""
    from sklearn.linear_model import LogisticRegression

    vocabulary = _Vocabulary(segment for first, second, _ in train_pairs for segment in (first, second))
    model = LogisticRegression(C=1 / ridge, tol=1e-8, max_iter=5000)
    model.fit(_bags(train_pairs, vocabulary), [label for _, _, label in train_pairs])
    return float(model.score(_bags(heldout_pairs, vocabulary), [label for _, _, label in heldout_pairs]))


def baseline_table(seed: int = 0, train_documents: int = 20_000, heldout_documents: int = 1_000) -> str:
    """Computes all baselines on the built-in corpus and formats them as a Markdown table.

    Args:
        seed: seed of the corpus.
        train_documents: number of documents that the baselines are fitted on.
        heldout_documents: number of documents that they are scored on.
    """
    training = list(generate_corpus(seed, "train", train_documents))
    heldout = list(generate_corpus(seed, "heldout", heldout_documents))
    streams = [word_stream(document) for document in heldout]
    counts = Counter(word for stream in streams for word in stream)
    unigram = float(stats.entropy(list(counts.values())))
    model = BigramModel.fit([word_stream(document) for document in training])
    order = order_classifier_accuracy(order_pairs(training, seed, _CHUNK), order_pairs(heldout, seed + 1, _CHUNK))
    losses = {
        "unigram entropy": unigram,
        "bigram model, p(w given left)": model.cross_entropy(streams),
        "both neighbors, p(w given left, right)": model.both_neighbors_cross_entropy(streams),
        "the grammar's floor": entropy_floor(seed, "heldout", window=_CHUNK),
    }
    rows = [f"| {name} | {loss:.3f} | {loss / unigram:.2f} |" for name, loss in losses.items()]
    return "\n".join(
        [
            "| held-out words | nats per word | of the unigram entropy |",
            "|---|---|---|",
            *rows,
            "",
            f"order of two segments by a bag-of-words classifier: {order:.1%} (chance 50%)",
        ]
    )


if __name__ == "__main__":
    print(baseline_table())
