"""Packed rows: single texts, several per row if they are short, planned for a whole epoch from their lengths.

A plan is made before hosts and workers divide the rows, so which texts share a row, and the order of the rows, depend
only on the corpus, the recipe, the seed and the epoch.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from flax_lite.rows.streams import stream

_TEXTS, _ORDER = range(2)  # independent random streams of one epoch
# The packer's tables have at most max_length squared entries; this bounds them at 128 MiB.
_MAX_LENGTH = 4096


class PackPlan(NamedTuple):
    """The rows of one epoch, in order; row r holds the texts `row_offsets[r]` to `row_offsets[r + 1]`.

    Attributes:
        first: index of the first token of each text in the corpus.
        length: number of tokens of each text, without special tokens; at least 1.
        row_offsets: index of the first text of each row, followed by the number of texts.
    """

    first: Int[np.ndarray, "texts"]
    length: Int[np.ndarray, "texts"]
    row_offsets: Int[np.ndarray, "row_bounds"]

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return len(self.row_offsets) - 1


def plan_packing(
    sentence_offsets: Int[np.ndarray, "sentence_bounds"],
    document_offsets: Int[np.ndarray, "document_bounds"],
    max_length: int,
    *,
    seed: int,
    epoch: int,
) -> PackPlan:
    """Plans one epoch: splits documents into texts of up to `max_length` - 2 tokens, and packs texts into rows.

    Every token is in exactly one text. `pack_lengths` decides which lengths share a row; which texts of a length these
    are, and the order of the rows, is drawn in each epoch.

    Args:
        sentence_offsets: first token of each sentence, followed by the number of tokens.
        document_offsets: first sentence of each document, followed by the number of sentences; no document is empty.
        max_length: T, tokens of a row; each text takes two more for [CLS] and [SEP].
        seed: seed of the run.
        epoch: index of the epoch, from 0.

    Returns:
        The plan.

    Source: documents are split as in huggingface/transformers, research_projects/distillation/lm_seqs_dataset.py
        (remove_long_sequences), which also drops texts of 11 tokens or fewer; here nothing is dropped. Packing: Krell
        et al. 2021 (arXiv:2107.02027).
    """
    first, length = _texts(sentence_offsets, document_offsets, max_length - 2)
    rows = pack_lengths(np.bincount(length, minlength=max_length - 1), max_length)
    # The slots of each length are filled with the texts of that length in random order.
    shuffled = stream(seed, epoch, _TEXTS).permutation(len(length))
    by_length = shuffled[np.argsort(length[shuffled], kind="stable")]
    slots = np.argsort(rows.lengths, kind="stable")
    text_at = np.empty(len(length), np.int64)
    text_at[slots] = by_length
    return _shuffled_rows(first[text_at], length[text_at], rows.offsets, stream(seed, epoch, _ORDER))


def count_packed_rows(
    sentence_offsets: Int[np.ndarray, "sentence_bounds"],
    document_offsets: Int[np.ndarray, "document_bounds"],
    max_length: int,
) -> int:
    """Returns the number of rows, which is the same in every epoch because the lengths are."""
    _, length = _texts(sentence_offsets, document_offsets, max_length - 2)
    return len(pack_lengths(np.bincount(length, minlength=max_length - 1), max_length).offsets) - 1


class PackedLengths(NamedTuple):
    """The lengths that share a row: row r holds `lengths[offsets[r] : offsets[r + 1]]`."""

    lengths: Int[np.ndarray, "texts"]
    offsets: Int[np.ndarray, "row_bounds"]


def pack_lengths(histogram: Int[np.ndarray, "lengths"], max_length: int) -> PackedLengths:
    """Packs lengths into rows by best-fit decreasing: longest first, each into the row with the least room that fits.

    Rows with equal contents are handled as one group, so the time depends on the number of distinct lengths instead of
    the number of texts.

    Args:
        histogram: number of texts of each length, without special tokens; entry 0 is ignored.
        max_length: room of a row; each text takes its length plus 2.

    Raises:
        ValueError: if a text does not fit into a row, or `max_length` is outside 3..4096.

    Source: Krell et al. 2021 (arXiv:2107.02027), which packs a histogram likewise.
    """
    if not 3 <= max_length <= _MAX_LENGTH:
        raise ValueError(f"packed rows need a max_length from 3 to {_MAX_LENGTH}, got {max_length}")
    if len(histogram) > max_length - 1 and histogram[max_length - 1 :].any():
        raise ValueError(f"a text of {int(np.flatnonzero(histogram)[-1])} tokens does not fit rows of {max_length}")
    # Remaining room -> groups of rows with that room: the lengths in each row, and the number of rows.
    open_rows: dict[int, list[tuple[tuple[int, ...], int]]] = {}
    for length in np.flatnonzero(histogram)[::-1].tolist():
        remaining, size = int(histogram[length]), length + 2
        for room in sorted(room for room in open_rows if room >= size):
            remaining = _fill(open_rows, room, length, remaining)
            if not remaining:
                break
        # New rows take as many texts of this length as fit; shorter texts come later.
        per_row = max_length // size
        full, rest = divmod(remaining, per_row)
        for count, texts in ((full, per_row), (1, rest)):
            if count and texts:
                open_rows.setdefault(max_length - texts * size, []).append(((length,) * texts, count))
    return _expand(group for room in sorted(open_rows) for group in open_rows[room])


def _fill(open_rows: dict[int, list[tuple[tuple[int, ...], int]]], room: int, length: int, remaining: int) -> int:
    """Puts texts of one length into rows with this much room; returns how many are left."""
    size = length + 2
    groups = open_rows.pop(room)
    while groups and remaining:
        lengths, count = groups.pop()
        per_row = min(room // size, remaining)
        rows = min(count, remaining // per_row)
        open_rows.setdefault(room - per_row * size, []).append((lengths + (length,) * per_row, rows))
        remaining -= rows * per_row
        if rows < count:
            groups.append((lengths, count - rows))
    if groups:
        open_rows.setdefault(room, []).extend(groups)
    return remaining


def _expand(groups: Iterable[tuple[tuple[int, ...], int]]) -> PackedLengths:
    """Lists every row of the groups."""
    lengths, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for group, count in groups:
        lengths.append(np.tile(np.array(group, np.int64), count))
        sizes.append(np.full(count, len(group), np.int64))
    return PackedLengths(np.concatenate(lengths), _offsets(np.concatenate(sizes)))


def _texts(
    sentence_offsets: Int[np.ndarray, "sentence_bounds"],
    document_offsets: Int[np.ndarray, "document_bounds"],
    room: int,
) -> tuple[Int[np.ndarray, "texts"], Int[np.ndarray, "texts"]]:
    """Returns the first token and the length of every text: documents split into texts of `room` tokens or fewer."""
    bounds = np.asarray(sentence_offsets, np.int64)[np.asarray(document_offsets, np.int64)]
    start, size = bounds[:-1], np.diff(bounds)
    count = -(-size // room)
    number = np.arange(count.sum()) - np.repeat(_offsets(count)[:-1], count)  # of the text within its document
    first = np.repeat(start, count) + number * room
    return first, np.minimum(room, np.repeat(start + size, count) - first)


def _shuffled_rows(first: np.ndarray, length: np.ndarray, offsets: np.ndarray, rng: np.random.Generator) -> PackPlan:
    """Returns the plan with its rows in random order."""
    order = rng.permutation(len(offsets) - 1)
    sizes = np.diff(offsets)[order]
    new_offsets = _offsets(sizes)
    source = np.arange(len(first)) - np.repeat(new_offsets[:-1], sizes) + np.repeat(offsets[:-1][order], sizes)
    return PackPlan(first[source], length[source], new_offsets)


def _offsets(sizes: Int[np.ndarray, "n"]) -> Int[np.ndarray, "bounds"]:
    """Returns 0 and the cumulative sums of the sizes."""
    return np.concatenate([[0], np.cumsum(sizes)])
