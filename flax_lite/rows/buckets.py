"""Rows of any length in batches of a few fixed shapes, so that a program is compiled a few times only.

A bucket is a length: a row is padded to the smallest bucket that holds it. A batch has rows of one bucket, and as many
of them in every batch of that bucket. Pure NumPy: pipelines use it, and a training job can.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

SHORTEST = 16


@dataclasses.dataclass(frozen=True, slots=True)
class BucketBatch:
    """Which rows make up a batch.

    Attributes:
        length: T, the bucket.
        index: number of each row; -1 for a row that only fills up the batch.
        row_weights: 1 for a row, 0 for one that only fills up.
    """

    length: int
    index: Int[np.ndarray, "B"]
    row_weights: Float[np.ndarray, "B"]


def bucket_lengths(max_length: int, shortest: int = SHORTEST) -> tuple[int, ...]:
    """Powers of two times `shortest` below `max_length`, and `max_length` itself: a row is at most doubled by padding.

    Raises:
        ValueError: for a length below 1.
    """
    for name, value in (("max_length", max_length), ("shortest", shortest)):
        if value < 1:
            raise ValueError(f"{name}={value}; expected at least 1")
    lengths = []
    while shortest < max_length:
        lengths.append(shortest)
        shortest *= 2
    return (*lengths, max_length)


def bucket_for(length: int, buckets: Sequence[int]) -> int:
    """The smallest bucket that holds a row of `length` tokens.

    Args:
        length: of the row.
        buckets: rising lengths, as `bucket_lengths` gives them.

    Raises:
        ValueError: if none does.
    """
    place = int(np.searchsorted(buckets, length))
    if place == len(buckets):
        raise ValueError(f"a row of {length} tokens is longer than the longest bucket, {buckets[-1]}")
    return buckets[place]


def rows_by_budget(buckets: Sequence[int], tokens_per_batch: int) -> dict[int, int]:
    """Rows of a batch of each bucket, tokens_per_batch // length: every batch has about as many tokens.

    Raises:
        ValueError: if the budget is smaller than a row of the longest bucket.
    """
    if tokens_per_batch < max(buckets):
        raise ValueError(f"tokens_per_batch={tokens_per_batch} does not hold one row of {max(buckets)} tokens")
    return {length: tokens_per_batch // length for length in buckets}


def batches_by_bucket(lengths: Sequence[int], rows_per_batch: Mapping[int, int]) -> list[BucketBatch]:
    """Puts every row into exactly one batch of its bucket; the last one of each bucket is filled up.

    Args:
        lengths: of the rows.
        rows_per_batch: buckets, and the rows of a batch of each: from `rows_by_budget`, or any.

    Returns:
        Batches by rising bucket; in one bucket, rows in their order.

    Raises:
        ValueError: if a row is longer than the longest bucket, or a batch has no rows.
    """
    if empty := [length for length, size in rows_per_batch.items() if size < 1]:
        raise ValueError(f"batches of {rows_per_batch[empty[0]]} rows of {empty[0]} tokens; expected at least 1")
    buckets = sorted(rows_per_batch)
    members: dict[int, list[int]] = {length: [] for length in buckets}
    for number, length in enumerate(lengths):
        members[bucket_for(length, buckets)].append(number)
    batches = []
    for length, numbers in members.items():
        size = rows_per_batch[length]
        for first in range(0, len(numbers), size):
            index = np.full(size, -1, np.int64)
            chosen = numbers[first : first + size]
            index[: len(chosen)] = chosen
            batches.append(BucketBatch(length, index, (index >= 0).astype(np.float32)))
    return batches


def padded(
    rows: Sequence[Mapping[str, Int[np.ndarray, "_"]]], batch: BucketBatch, fill: Mapping[str, int]
) -> dict[str, Int[np.ndarray, "B T"]]:
    """The arrays of a batch.

    Args:
        rows: all of them; each field has the row's length.
        batch: which to take.
        fill: what each field is padded with; it names the fields.

    Returns:
        int32; rows that only fill up hold padding alone.
    """
    arrays = {name: np.full((len(batch.index), batch.length), value, np.int32) for name, value in fill.items()}
    for place, number in enumerate(batch.index[batch.index >= 0]):
        for name, array in arrays.items():
            values = rows[number][name]
            array[place, : len(values)] = values
    return arrays
