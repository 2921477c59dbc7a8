"""Packed rows: single texts, several to a row where they are short, planned for a whole epoch from lengths alone.

A plan is made before anything is divided among hosts or workers, so which texts share a row, and in which order rows
come, depends on the corpus, the recipe, the seed and the epoch, and on nothing else.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from flax_lite.rows.streams import stream

_TEXTS, _ORDER = range(2)  # independent random streams of one epoch
# No table of the packer is larger than the row's length squared; this bounds it at 128 MiB.
_MAX_LENGTH = 4096


class PackPlan(NamedTuple):
    """One epoch's rows in reading order; row r holds the texts `row_offsets[r]` to `row_offsets[r + 1]`.

    Attributes:
        first: first token of each text, an index into the corpus.
        length: number of tokens of each text, specials excluded; at least 1.
        row_offsets: first text of each row, closed by the number of texts.
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
    """Plans one epoch: documents are cut into texts of `max_length` - 2 tokens, and what is left over shares rows.

    Every token is in exactly one text. Texts are packed by `pack_lengths`; which of equally long texts share a row, and
    the order of the rows, are drawn anew in each epoch.

    Args:
        sentence_offsets: first token of each sentence, closed by the number of tokens.
        document_offsets: first sentence of each document, closed by the number of sentences; no document is empty.
        max_length: T, tokens of a row; each text takes two more for [CLS] and [SEP].
        seed: of the run.
        epoch: 0 for the first.

    Returns:
        The plan.

    Source: cutting as in huggingface/transformers, research_projects/distillation/lm_seqs_dataset.py
        (remove_long_sequences), which drops texts of 11 tokens or fewer; here nothing is dropped. Packing: Krell et
        al., 2021, arXiv:2107.02027.
    """
    first, length = _texts(sentence_offsets, document_offsets, max_length - 2)
    rows = pack_lengths(np.bincount(length, minlength=max_length - 1), max_length)
    # Texts of one length, in random order, fill the places for that length one after the other.
    shuffled = stream(seed, epoch, _TEXTS).permutation(len(length))
    by_length = shuffled[np.argsort(length[shuffled], kind="stable")]
    places = np.argsort(rows.lengths, kind="stable")
    text_at = np.empty(len(length), np.int64)
    text_at[places] = by_length
    return _reordered(first[text_at], length[text_at], rows.offsets, stream(seed, epoch, _ORDER))


def count_packed_rows(
    sentence_offsets: Int[np.ndarray, "sentence_bounds"],
    document_offsets: Int[np.ndarray, "document_bounds"],
    max_length: int,
) -> int:
    """The number of rows of every epoch: lengths, and so the packing, are the same in all of them."""
    _, length = _texts(sentence_offsets, document_offsets, max_length - 2)
    return len(pack_lengths(np.bincount(length, minlength=max_length - 1), max_length).offsets) - 1


class PackedLengths(NamedTuple):
    """Which lengths share a row: row r holds `lengths[offsets[r] : offsets[r + 1]]`."""

    lengths: Int[np.ndarray, "texts"]
    offsets: Int[np.ndarray, "row_bounds"]


def pack_lengths(histogram: Int[np.ndarray, "lengths"], max_length: int) -> PackedLengths:
    """Best-fit decreasing over a histogram: each length goes where it leaves the least room, the longest first.

    Rows that are filled alike are handled as one, so the work depends on the number of different lengths and not on the
    number of texts.

    Args:
        histogram: number of texts of each length, specials excluded; index 0 counts nothing.
        max_length: room in a row; each text takes its length and 2.

    Raises:
        ValueError: if a text does not fit a row, or the row is longer than any model's.
    """
    if not 3 <= max_length <= _MAX_LENGTH:
        raise ValueError(f"packed rows need a length from 3 to {_MAX_LENGTH}, got {max_length}")
    if len(histogram) > max_length - 1 and histogram[max_length - 1 :].any():
        raise ValueError(f"a text of {int(np.flatnonzero(histogram)[-1])} tokens does not fit rows of {max_length}")
    # room -> groups of rows that have so much room left: the lengths in each, and how many there are.
    open_rows: dict[int, list[tuple[tuple[int, ...], int]]] = {}
    for length in np.flatnonzero(histogram)[::-1].tolist():
        waiting, size = int(histogram[length]), length + 2
        for room in sorted(room for room in open_rows if room >= size):
            waiting = _fill(open_rows, room, length, waiting)
            if not waiting:
                break
        # New rows take as many texts of this length as fit, before shorter ones are looked at.
        per_row = max_length // size
        full, rest = divmod(waiting, per_row)
        for count, texts in ((full, per_row), (1, rest)):
            if count and texts:
                open_rows.setdefault(max_length - texts * size, []).append(((length,) * texts, count))
    return _expanded(group for room in sorted(open_rows) for group in open_rows[room])


def _fill(open_rows: dict[int, list[tuple[tuple[int, ...], int]]], room: int, length: int, waiting: int) -> int:
    """Puts texts of a length into rows with this much room; returns how many found none."""
    size = length + 2
    groups = open_rows.pop(room)
    while groups and waiting:
        lengths, count = groups.pop()
        per_row = min(room // size, waiting)
        rows = min(count, waiting // per_row)
        open_rows.setdefault(room - per_row * size, []).append((lengths + (length,) * per_row, rows))
        waiting -= rows * per_row
        if rows < count:
            groups.append((lengths, count - rows))
    if groups:
        open_rows.setdefault(room, []).extend(groups)
    return waiting


def _expanded(groups: Iterable[tuple[tuple[int, ...], int]]) -> PackedLengths:
    """One entry for each row, from groups of rows that are filled alike."""
    lengths, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for group, count in groups:
        lengths.append(np.tile(np.array(group, np.int64), count))
        sizes.append(np.full(count, len(group), np.int64))
    return PackedLengths(np.concatenate(lengths), _closed(np.concatenate(sizes)))


def _texts(
    sentence_offsets: Int[np.ndarray, "sentence_bounds"],
    document_offsets: Int[np.ndarray, "document_bounds"],
    room: int,
) -> tuple[Int[np.ndarray, "texts"], Int[np.ndarray, "texts"]]:
    """First token and length of every text: a document's tokens in pieces of `room`, the last one shorter."""
    bounds = np.asarray(sentence_offsets, np.int64)[np.asarray(document_offsets, np.int64)]
    begin, size = bounds[:-1], np.diff(bounds)
    count = -(-size // room)
    number = np.arange(count.sum()) - np.repeat(_closed(count)[:-1], count)  # of the text within its document
    first = np.repeat(begin, count) + number * room
    return first, np.minimum(room, np.repeat(begin + size, count) - first)


def _reordered(first: np.ndarray, length: np.ndarray, offsets: np.ndarray, rng: np.random.Generator) -> PackPlan:
    """The rows in random order."""
    order = rng.permutation(len(offsets) - 1)
    sizes = np.diff(offsets)[order]
    new_offsets = _closed(sizes)
    source = np.arange(len(first)) - np.repeat(new_offsets[:-1], sizes) + np.repeat(offsets[:-1][order], sizes)
    return PackPlan(first[source], length[source], new_offsets)


def _closed(sizes: Int[np.ndarray, "n"]) -> Int[np.ndarray, "bounds"]:
    return np.concatenate([[0], np.cumsum(sizes)])
