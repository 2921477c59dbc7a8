"""What models without a transformer reach on the built-in corpus: `python -m train.data.builtin.baselines`.

The pretraining job is only worth its scores where these stay well short of them: word statistics up to both
neighbors for the masked words, and bags of words for the order of two segments.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from train.data.builtin.entropy import entropy_floor, unigram_entropy
from train.data.builtin.generator import generate_corpus
from train.data.builtin.grammar import Document

Segment = Sequence[str]
OrderPair = tuple[Segment, Segment, int]
"""Two segments of words and 0 where they come in order, 1 where they are swapped."""

_CHUNK = 3  # sentences in a row of configs/albert_tiny.py
_EDGE = "\n"  # Stands before the first and after the last word of a document; no word is a line break.


def word_stream(document: Document) -> list[str]:
    """The words of a document, full stops included, in order."""
    return [word for words in document.words for word in words]


class _Vocabulary:
    """Ids of the training words; 0 is the edge of a document and of whatever was never seen."""

    def __init__(self, streams: Iterable[Sequence[str]]) -> None:
        words = sorted({word for stream in streams for word in stream})
        self.ids = {_EDGE: 0} | {word: number for number, word in enumerate(words, start=1)}

    def __len__(self) -> int:
        return len(self.ids)

    def neighbors(self, streams: Iterable[Sequence[str]]) -> np.ndarray:
        """Every word with its left and right neighbor: int [words, 3]."""
        rows = []
        for stream in streams:
            ids = np.array([0, *(self.ids.get(word, 0) for word in stream), 0])
            rows.append(np.stack([ids[:-2], ids[1:-1], ids[2:]], axis=1))
        return np.concatenate(rows)


def _discounted(counts: np.ndarray, lower: np.ndarray, discount: float = 0.75) -> np.ndarray:
    """p(w | context) by absolute discounting: what is taken from each seen count goes to `lower`, row by row."""
    totals = counts.sum(axis=-1, keepdims=True)
    freed = np.where(totals > 0, discount * np.count_nonzero(counts, axis=-1, keepdims=True), 1.0)
    return (np.maximum(counts - discount, 0) + freed * lower) / np.maximum(totals, 1)


@dataclass(frozen=True)
class BigramModel:
    """p(w | left) and p(w | right), each backing off to p(w) by absolute discounting, and both neighbors together.

    `forward` and `backward` are [V, V] with one row per neighbor.
    """

    vocabulary: _Vocabulary
    unigram: np.ndarray
    forward: np.ndarray
    backward: np.ndarray

    @classmethod
    def fit(cls, streams: Sequence[Sequence[str]]) -> "BigramModel":
        """Counts the training documents, each given as its words."""
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

        The exponents are the best of a grid on the held-out split. Counting which words stood between the same two
        neighbors made it worse: held-out combinations are not among them.
        """
        rows, losses = self.vocabulary.neighbors(streams), []
        for chunk in np.array_split(rows, max(1, len(rows) // 4096)):
            scores = np.sqrt(self.forward[chunk[:, 0]] * self.backward[chunk[:, 2]]) / self.unigram
            losses.append(-np.log(scores[np.arange(len(chunk)), chunk[:, 1]] / scores.sum(axis=1)))
        return float(np.concatenate(losses).mean())


def order_pairs(documents: Iterable[Document], seed: int, chunk: int) -> list[OrderPair]:
    """Segment pairs as pretraining makes them: every `chunk` sentences parted at a random boundary, half swapped."""
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


def _bags(pairs: Sequence[OrderPair], vocabulary: _Vocabulary) -> np.ndarray:
    size = len(vocabulary)
    bags = np.zeros((len(pairs), 2 * size + 1))
    bags[:, -1] = 1  # the intercept
    for row, (first, second, _) in zip(bags, pairs, strict=True):
        for offset, segment in ((0, first), (size, second)):
            for word in segment:
                row[offset + vocabulary.ids.get(word, 0)] += 1
    return bags


def order_classifier_accuracy(
    train_pairs: Sequence[OrderPair], heldout_pairs: Sequence[OrderPair], ridge: float = 10.0
) -> float:
    """Held-out accuracy of a logistic regression on the word counts of both segments, fitted by Newton's method."""
    vocabulary = _Vocabulary(segment for first, second, _ in train_pairs for segment in (first, second))
    bags, labels = _bags(train_pairs, vocabulary), np.array([label for _, _, label in train_pairs], dtype=float)
    weights = np.zeros(bags.shape[1])
    for _ in range(8):
        p = 1 / (1 + np.exp(-(bags @ weights)))
        gradient = bags.T @ (p - labels) + ridge * weights
        hessian = (bags * (p * (1 - p))[:, None]).T @ bags + ridge * np.eye(len(weights))
        weights -= np.linalg.solve(hessian, gradient)
    guesses = _bags(heldout_pairs, vocabulary) @ weights > 0
    return float(np.mean(guesses == np.array([label for _, _, label in heldout_pairs])))


def baseline_table(seed: int = 0, train_documents: int = 20_000, heldout_documents: int = 1_000) -> str:
    """The scores of the built-in corpus that need no transformer, as a Markdown table.

    Args:
        seed: of the corpus.
        train_documents: documents that the models are fitted on.
        heldout_documents: documents that they are scored on.
    """
    training = list(generate_corpus(seed, "train", train_documents))
    heldout = list(generate_corpus(seed, "heldout", heldout_documents))
    streams = [word_stream(document) for document in heldout]
    counts = Counter(word for stream in streams for word in stream)
    unigram = unigram_entropy(list(counts.values()))
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
