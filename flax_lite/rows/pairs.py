"""Segment pairs for pretraining, planned for a whole epoch from sentence lengths alone.

A plan is made before anything is divided among hosts or workers, so which pairs an epoch holds, and in which order,
depends on the corpus, the recipe, the seed and the epoch, and on nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from flax_lite.rows.streams import stream

PairTask = Literal["sop", "nsp"]

# Documents are planned in blocks of about this many sentences, to bound the memory of a plan in the making. Draws
# follow the blocks: another size gives other plans.
_SENTENCES_PER_BLOCK = 2**20

_CHUNKS, _PARTNERS, _ORDER = range(3)  # independent random streams of one epoch


@dataclass(frozen=True)
class PairRecipe:
    """How documents become segment pairs.

    Attributes:
        max_tokens: most tokens of a pair, specials excluded (the row's length less 3).
        short_seq_prob: probability that a pass over a document aims at shorter pairs.
        task: "sop", sentence order (label 1: swapped), or "nsp", next sentence (label 1: from another document).
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
    """One epoch's pairs in reading order; segment 0 comes first in the row.

    Attributes:
        first: first token of each segment, an index into the corpus, truncation applied.
        length: number of tokens of each segment, truncation applied; at least 1.
        label: 1 for segments that are swapped or not from the same place, else 0.
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
    """Plans one epoch: every document is passed over once, its sentences gathered into chunks, each chunk cut in two.

    A pass aims at `max_tokens`, or with `short_seq_prob` at a length drawn from 2..`max_tokens` for the whole pass.
    Sentences are gathered until there are so many tokens or the document ends; a random 1..n-1 of the n sentences
    become A, the rest B.

    - sop: A and B change places with probability 1/2 (label 1).
    - nsp: with probability 1/2 B is replaced by text from another document (label 1), and B's sentences go back.
    - A chunk of one sentence has no B: it takes one from another document (label 1), under either task.

    A pair beyond `max_tokens` loses single tokens of its longer segment, at the front or the back with equal
    probability. The pairs of the epoch are then shuffled.

    Args:
        sentence_offsets: first token of each sentence, closed by the number of tokens; no sentence is empty.
        document_offsets: first sentence of each document, closed by the number of sentences; no document is empty.
        recipe: lengths and task.
        seed: of the run.
        epoch: 0 for the first.

    Returns:
        The plan.

    Source: google-research/albert create_pretraining_data.py, create_instances_from_document and truncate_seq_pair;
        for nsp also google-research/bert, same file. Google instead writes 40 differently drawn copies (dupe_factor),
        and tries ten times for another document where here the first draw already excludes the own one.
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
    """Returns the number of rows of `plan_pairs` with the same arguments, in a part of its time."""
    return sum(len(chunks.begin) for chunks in _chunk_blocks(sentence_offsets, document_offsets, recipe, seed, epoch))


class _Chunks(NamedTuple):
    """Chunks of consecutive sentences; `middle` is where B begins, `end` where there is none (one sentence)."""

    begin: Int[np.ndarray, "rows"]
    middle: Int[np.ndarray, "rows"]
    end: Int[np.ndarray, "rows"]
    document: Int[np.ndarray, "rows"]
    target: Int[np.ndarray, "rows"]
    random_next: Bool[np.ndarray, "rows"]


def _chunk_blocks(
    sentence_offsets: np.ndarray, document_offsets: np.ndarray, recipe: PairRecipe, seed: int, epoch: int
) -> Iterator[_Chunks]:
    """Gathers sentences into chunks.

    Where a chunk would begin decides all about it, so its draws are made for every sentence at once; following the
    chunks through the block then only picks those sentences at which one does begin.
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
    """Yields ranges of documents, as many as fit a block, at least one."""
    first, count = 0, len(document_offsets) - 1
    while first < count:
        fitting = int(np.searchsorted(document_offsets, document_offsets[first] + _SENTENCES_PER_BLOCK, "right")) - 1
        last = max(first + 1, fitting)
        yield first, last
        first = last


def _follow(following: list[int]) -> list[int]:
    """Starts at 0 and goes from each place to the one after it, to the end of the list."""
    picked = []
    place = 0
    while place < len(following):
        picked.append(place)
        place = following[place]
    return picked


def _pair_up(
    chunks: _Chunks,
    sentence_offsets: np.ndarray,
    document_offsets: np.ndarray,
    recipe: PairRecipe,
    rng: np.random.Generator,
) -> PairPlan:
    """Gives each chunk its B, its order and its label, and truncates it."""
    begin, middle, end = (sentence_offsets[place] for place in (chunks.begin, chunks.middle, chunks.end))
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
    """Draws text of other documents: from a random sentence on, whole sentences until `wanted` tokens, at least one."""
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
    """Cuts pairs to `max_tokens`: token by token from the longer segment, from B where they are equal.

    The longer one loses tokens until both are equal, then B and A lose them in turn; each token goes from the front
    with probability 1/2, so the number from the front is binomial.
    """
    excess = np.maximum(length.sum(axis=1) - max_tokens, 0)
    difference = length[:, 0] - length[:, 1]
    leveling = np.minimum(excess, np.abs(difference))
    rest = excess - leveling
    cut_a = np.where(difference > 0, leveling, 0) + rest // 2
    cut_b = np.where(difference < 0, leveling, 0) + (rest + 1) // 2
    cut = np.stack([cut_a, cut_b], axis=1)
    return first + rng.binomial(cut, 0.5), length - cut
