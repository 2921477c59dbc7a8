"""Batches of a few fixed shapes for rows of any length, so that a program is compiled only a few times.

A bucket is a row length: a row is padded to the smallest bucket that holds it. All batches of a bucket have the same
number of rows; for a few rows, it is smaller (`rows_for_few`). This module uses only NumPy, for pipelines and data
workers.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

SHORTEST = 16
# Row counts of batches for a few rows. On a CPU the time of a batch is proportional to its rows, so padding at most
# quadruples it; each row count in between would be another program to compile.
FEW_ROWS = (1, 4, 16)


@dataclasses.dataclass(frozen=True, slots=True)
class BucketBatch:
    """The rows of one batch.

    Attributes:
        length: T, the length of the bucket.
        index: index of each row; -1 for a padding row.
        row_weights: 1 for a row, 0 for a padding row.
    """

    length: int
    index: Int[np.ndarray, "B"]
    row_weights: Float[np.ndarray, "B"]


def bucket_lengths(max_length: int, shortest: int = SHORTEST) -> tuple[int, ...]:
    """Returns `shortest` times the powers of two below `max_length`, and `max_length`.

    Padding then at most doubles the length of a row of at least `shortest` tokens.

    Raises:
        ValueError: if a length is below 1.
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
    """Returns the smallest bucket that holds a row of `length` tokens.

    Args:
        length: number of tokens of the row.
        buckets: ascending lengths, as returned by `bucket_lengths`.

    Raises:
        ValueError: if the row is longer than the longest bucket.
    """
    index = int(np.searchsorted(buckets, length))
    if index == len(buckets):
        raise ValueError(f"a row of {length} tokens is longer than the longest bucket, {buckets[-1]}")
    return buckets[index]


def rows_by_budget(buckets: Sequence[int], tokens_per_batch: int) -> dict[int, int]:
    """Returns the number of rows per batch of each bucket, tokens_per_batch // length.

    Every batch then has about the same number of tokens.

    Raises:
        ValueError: if the budget is smaller than one row of the longest bucket.
    """
    if tokens_per_batch < max(buckets):
        raise ValueError(f"tokens_per_batch={tokens_per_batch} does not hold one row of {max(buckets)} tokens")
    return {length: tokens_per_batch // length for length in buckets}


def row_counts(rows_per_batch: int) -> tuple[int, ...]:
    """Returns the row counts that `rows_for_few` chooses from: those of `FEW_ROWS` below `rows_per_batch`, and it."""
    return (*(count for count in FEW_ROWS if count < rows_per_batch), rows_per_batch)


def rows_for_few(lengths: Sequence[int], rows_per_batch: Mapping[int, int], total: int = 0) -> dict[int, int]:
    """Returns a smaller number of rows per batch for buckets whose batches would be mostly padding.

    A bucket keeps its number of rows if there are at least as many rows in total, so that a long list needs one program
    for each bucket. Otherwise it gets the smallest of `row_counts` that holds its rows.

    Args:
        lengths: number of tokens of each row.
        rows_per_batch: maximum number of rows in a batch of each bucket.
        total: number of rows in total, if `lengths` are only those of the last part of them.

    Raises:
        ValueError: if a row is longer than the longest bucket.
    """
    buckets, total = sorted(rows_per_batch), max(total, len(lengths))
    counts = collections.Counter(bucket_for(length, buckets) for length in lengths)
    return {
        length: size if total >= size else next(count for count in row_counts(size) if count >= counts[length])
        for length, size in rows_per_batch.items()
    }


def batches_by_bucket(lengths: Sequence[int], rows_per_batch: Mapping[int, int]) -> list[BucketBatch]:
    """Assigns every row to exactly one batch of its bucket, and pads the last batch of each bucket with empty rows.

    Args:
        lengths: number of tokens of each row.
        rows_per_batch: number of rows in a batch of each bucket, for example from `rows_by_budget`.

    Returns:
        Batches by ascending bucket; within a bucket, rows keep their order.

    Raises:
        ValueError: if a row is longer than the longest bucket, or a batch would have no rows.
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
    """Returns the padded arrays of a batch.

    Args:
        rows: all rows; each field of a row is an array of the row's length.
        batch: the rows to take.
        fill: the padding value of each field; its keys are the fields to return.

    Returns:
        int32 arrays; padding rows contain only padding.
    """
    arrays = {name: np.full((len(batch.index), batch.length), value, np.int32) for name, value in fill.items()}
    for position, number in enumerate(batch.index[batch.index >= 0]):
        for name, array in arrays.items():
            values = rows[number][name]
            array[position, : len(values)] = values
    return arrays
