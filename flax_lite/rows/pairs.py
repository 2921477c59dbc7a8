"""Segment pairs for pretraining, planned for a whole epoch from sentence lengths.

A plan is made before hosts and workers divide the rows, so which pairs an epoch has, and their order, depend only on
the corpus, the recipe, the seed and the epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from flax_lite.rows.streams import stream

PairTask = Literal["sop", "nsp"]

# Documents are planned in blocks of about this many sentences, to bound memory. Random draws are per block, so another
# size results in other plans.
_SENTENCES_PER_BLOCK = 2**20

_CHUNKS, _PARTNERS, _ORDER = range(3)  # independent random streams of one epoch


@dataclass(frozen=True)
class PairRecipe:
    """How documents are split into segment pairs.

    Attributes:
        max_tokens: maximum number of tokens of a pair, without special tokens (the row's length minus 3).
        short_seq_prob: probability that a document's pairs have a shorter target length.
        task: "sop", sentence-order prediction (label 1: swapped), or "nsp", next-sentence prediction (label 1: the
            second segment is from another document).
    """

    max_tokens: int
    short_seq_prob: float = 0.1
    task: PairTask = "sop"

    def __post_init__(self) -> None:
        if self.max_tokens < 2:
            raise ValueError(f"a pair needs at least 2 tokens, got max_tokens={self.max_tokens}")
        if not 0.0 <= self.short_seq_prob <= 1.0:
            raise ValueError(f"short_seq_prob must be a probability, got {self.short_seq_prob}")
        if self.task not in ("sop", "nsp"):
            raise ValueError(f"pair task must be 'sop' or 'nsp', got {self.task!r}")


class PairPlan(NamedTuple):
    """The pairs of one epoch, in order; segment 0 comes first in the row.

    Attributes:
        first: index of the first token of each segment in the corpus, after truncation.
        length: number of tokens of each segment, after truncation; at least 1.
        label: 1 for segments that are swapped or from different documents, else 0.
    """

    first: Int[np.ndarray, "rows 2"]
    length: Int[np.ndarray, "rows 2"]
    label: Int[np.ndarray, "rows"]

    @property
    def num_rows(self) -> int:
        """The number of pairs."""
        return len(self.label)


def plan_pairs(
    sentence_offsets: Int[np.ndarray, "sentence_bounds"],
    document_offsets: Int[np.ndarray, "document_bounds"],
    recipe: PairRecipe,
    *,
    seed: int,
    epoch: int,
) -> PairPlan:
    """Plans one epoch: gathers the sentences of every document into chunks, and splits each chunk into two segments.

    The target length of a document's chunks is `max_tokens`, or with probability `short_seq_prob` a random length from
    2..`max_tokens`. Sentences are gathered until the chunk reaches the target length or the document ends. Of its n
    sentences, a random number from 1..n-1 become segment A, the others segment B.

    - sop: A and B are swapped with probability 1/2 (label 1).
    - nsp: with probability 1/2, B is replaced by text from another document (label 1), and B's sentences start the next
      chunk.
    - A chunk of one sentence has no B: with either task, B is text from another document (label 1).

    A pair of more than `max_tokens` tokens loses single tokens of its longer segment, each from the front or the back
    with equal probability. Finally, the pairs of the epoch are shuffled.

    Args:
        sentence_offsets: first token of each sentence, followed by the number of tokens; no sentence is empty.
        document_offsets: first sentence of each document, followed by the number of sentences; no document is empty.
        recipe: lengths and task.
        seed: seed of the run.
        epoch: index of the epoch, from 0.

    Returns:
        The plan.

    Source: google-research/albert create_pretraining_data.py, create_instances_from_document and truncate_seq_pair; for
        nsp also google-research/bert, same file. Google's code writes 40 differently drawn copies of the data
        (dupe_factor) instead of new pairs in each epoch, and draws up to ten times until it finds another document,
        where here the first draw excludes the document of A.
    """
    partners = stream(seed, epoch, _PARTNERS)
    blocks = [
        _pair_up(chunks, sentence_offsets, document_offsets, recipe, partners)
        for chunks in _chunk_blocks(sentence_offsets, document_offsets, recipe, seed, epoch)
    ]
    order = stream(seed, epoch, _ORDER).permutation(sum(len(block.label) for block in blocks))
    return PairPlan(*(np.concatenate(columns)[order] for columns in zip(*blocks, strict=True)))


def count_pairs(
    sentence_offsets: Int[np.ndarray, "sentence_bounds"],
    document_offsets: Int[np.ndarray, "document_bounds"],
    recipe: PairRecipe,
    *,
    seed: int,
    epoch: int,
) -> int:
    """Returns the number of rows of `plan_pairs` with the same arguments, in a fraction of its time."""
    return sum(len(chunks.begin) for chunks in _chunk_blocks(sentence_offsets, document_offsets, recipe, seed, epoch))


class _Chunks(NamedTuple):
    """Chunks of consecutive sentences from `begin` to `end`; B starts at `middle`, or is missing if that is `end`."""

    begin: Int[np.ndarray, "rows"]
    middle: Int[np.ndarray, "rows"]
    end: Int[np.ndarray, "rows"]
    document: Int[np.ndarray, "rows"]
    target: Int[np.ndarray, "rows"]
    random_next: Bool[np.ndarray, "rows"]


def _chunk_blocks(
    sentence_offsets: np.ndarray, document_offsets: np.ndarray, recipe: PairRecipe, seed: int, epoch: int
) -> Iterator[_Chunks]:
    """Yields the chunks of each block of documents.

    A chunk is determined by its first sentence, so all draws are made for every sentence at once; then only the
    sentences are picked at which a chunk does start.
    """
    rng = stream(seed, epoch, _CHUNKS)
    for first_document, last_document in _document_blocks(document_offsets):
        bounds = document_offsets[first_document : last_document + 1]
        sizes = np.diff(bounds)
        target = np.repeat(draw_targets(rng, len(sizes), recipe), sizes)
        document = np.repeat(np.arange(first_document, last_document), sizes)
        begin = np.arange(bounds[0], bounds[-1])
        full = np.searchsorted(sentence_offsets, sentence_offsets[begin] + target)
        end = np.minimum(full, np.repeat(bounds[1:], sizes))
        middle = begin + 1 + (rng.random(len(begin)) * (end - begin - 1)).astype(np.int64)
        random_next = end - begin == 1
        following = end
        if recipe.task == "nsp":
            random_next |= rng.random(len(begin)) < 0.5
            following = np.where(random_next, middle, end)
        picked = _follow((following - bounds[0]).tolist())
        yield _Chunks(*(column[picked] for column in (begin, middle, end, document, target, random_next)))


def draw_targets(rng: np.random.Generator, num_documents: int, recipe: PairRecipe) -> Int[np.ndarray, "documents"]:
    """Draws the number of tokens that each document's pass aims at."""
    short = rng.random(num_documents) < recipe.short_seq_prob
    return np.where(short, rng.integers(2, recipe.max_tokens, num_documents, endpoint=True), recipe.max_tokens)


def _document_blocks(document_offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields ranges of documents, each with as many documents as fit into a block, but at least one."""
    first, count = 0, len(document_offsets) - 1
    while first < count:
        fitting = int(np.searchsorted(document_offsets, document_offsets[first] + _SENTENCES_PER_BLOCK, "right")) - 1
        last = max(first + 1, fitting)
        yield first, last
        first = last


def _follow(following: list[int]) -> list[int]:
    """Returns the indices on the path from 0 through `following` to the end of the list."""
    picked = []
    index = 0
    while index < len(following):
        picked.append(index)
        index = following[index]
    return picked


def _pair_up(
    chunks: _Chunks,
    sentence_offsets: np.ndarray,
    document_offsets: np.ndarray,
    recipe: PairRecipe,
    rng: np.random.Generator,
) -> PairPlan:
    """Returns the pairs of some chunks: draws B where it is missing, the order and the label, and truncates."""
    begin, middle, end = (sentence_offsets[sentence] for sentence in (chunks.begin, chunks.middle, chunks.end))
    random_next = chunks.random_next
    wanted = chunks.target[random_next] - (middle - begin)[random_next]
    partner_begin, partner_end = _draw_partners(
        chunks.document[random_next], wanted, sentence_offsets, document_offsets, rng
    )
    b_begin, b_end = middle.copy(), end.copy()
    b_begin[random_next], b_end[random_next] = partner_begin, partner_end
    label = random_next.astype(np.int8)
    first = np.stack([begin, b_begin], axis=1)
    length = np.stack([middle - begin, b_end - b_begin], axis=1)
    if recipe.task == "sop":
        swapped = ~random_next & (rng.random(len(label)) < 0.5)
        first[swapped], length[swapped] = first[swapped, ::-1], length[swapped, ::-1]
        label[swapped] = 1
    first, length = _truncate(first, length, recipe.max_tokens, rng)
    return PairPlan(first, length.astype(np.int32), label)


def _draw_partners(
    document: np.ndarray,
    wanted: np.ndarray,
    sentence_offsets: np.ndarray,
    document_offsets: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws text of other documents: whole sentences from a random one on, at least one, up to `wanted` tokens."""
    num_documents = len(document_offsets) - 1
    if num_documents > 1:
        other = rng.integers(0, num_documents - 1, len(document))
        other += other >= document
    else:
        other = document
    low, high = document_offsets[other], document_offsets[other + 1]
    begin = low + (rng.random(len(other)) * (high - low)).astype(np.int64)
    enough = np.searchsorted(sentence_offsets, sentence_offsets[begin] + np.maximum(wanted, 1))
    return sentence_offsets[begin], sentence_offsets[np.minimum(enough, high)]


def _truncate(
    first: np.ndarray, length: np.ndarray, max_tokens: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Truncates pairs to `max_tokens`, one token at a time from the longer segment, or from B if both are equally long.

    The longer segment is shortened until both are equal, then B and A alternate. Each token is removed from the front
    with probability 1/2, so the number of tokens removed from the front is binomial.
    """
    excess = np.maximum(length.sum(axis=1) - max_tokens, 0)
    difference = length[:, 0] - length[:, 1]
    from_longer = np.minimum(excess, np.abs(difference))
    rest = excess - from_longer
    removed_a = np.where(difference > 0, from_longer, 0) + rest // 2
    removed_b = np.where(difference < 0, from_longer, 0) + (rest + 1) // 2
    removed = np.stack([removed_a, removed_b], axis=1)
    return first + rng.binomial(removed, 0.5), length - removed
