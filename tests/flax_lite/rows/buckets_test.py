"""Batches of fixed shapes contain each row once, for any length and budget."""

import numpy as np
import pytest

from flax_lite.rows.buckets import (
    batches_by_bucket,
    bucket_for,
    bucket_lengths,
    padded,
    row_counts,
    rows_by_budget,
    rows_for_few,
)


@pytest.mark.parametrize(
    ("max_length", "expected"),
    [(512, (16, 32, 64, 128, 256, 512)), (384, (16, 32, 64, 128, 256, 384)), (17, (16, 17)), (16, (16,)), (3, (3,))],
)
def test_lengths_are_powers_of_two_up_to_the_maximum(max_length, expected):
    assert bucket_lengths(max_length) == expected


def test_bucket_is_the_smallest_that_holds_a_row():
    buckets = bucket_lengths(300)
    for length in range(301):
        assert bucket_for(length, buckets) == min(bucket for bucket in buckets if bucket >= length)
    with pytest.raises(ValueError, match="301 tokens is longer than the longest bucket, 300"):
        bucket_for(301, buckets)


@pytest.mark.parametrize("seed", range(20))
def test_every_row_is_in_one_batch(seed):
    random = np.random.default_rng(seed)
    max_length = int(random.integers(1, 200))
    buckets = bucket_lengths(max_length, int(random.integers(1, 40)))
    sizes = rows_by_budget(buckets, int(random.integers(max_length, 1000)))
    lengths = random.integers(0, max_length + 1, int(random.integers(0, 120))).tolist()
    rows = [{"input_ids": random.integers(1, 99, length), "attention_mask": np.ones(length, int)} for length in lengths]
    seen = []
    for batch in batches_by_bucket(lengths, sizes):
        arrays = padded(rows, batch, {"input_ids": 0, "attention_mask": 0})
        assert arrays["input_ids"].shape == (sizes[batch.length], batch.length)
        np.testing.assert_array_equal(batch.row_weights, batch.index >= 0)
        for position, number in enumerate(batch.index):
            ids = arrays["input_ids"][position]
            kept = ids[arrays["attention_mask"][position] == 1]
            expected = rows[number]["input_ids"] if number >= 0 else []
            np.testing.assert_array_equal(kept, expected)
            np.testing.assert_array_equal(ids[: len(kept)], kept)
            assert not ids[len(kept) :].any()
        seen += batch.index[batch.index >= 0].tolist()
        assert all(bucket_for(lengths[number], buckets) == batch.length for number in batch.index if number >= 0)
    assert sorted(seen) == list(range(len(lengths)))


@pytest.mark.parametrize(
    ("size", "expected"), [(1, (1,)), (2, (1, 2)), (4, (1, 4)), (20, (1, 4, 16, 20)), (1024, (1, 4, 16, 1024))]
)
def test_row_counts_end_with_the_full_batch(size, expected):
    assert row_counts(size) == expected


# Lengths of rows, total, and the expected number of rows in a batch of 16 and of 32 tokens, at most 8 and 6.
FEW = [
    ([], 0, (1, 1)),
    ([3], 0, (1, 1)),
    ([32], 0, (1, 1)),
    ([3, 16, 17], 0, (4, 1)),
    ([3] * 5, 0, (8, 1)),
    ([3] * 4 + [20], 0, (4, 1)),
    ([3] * 5 + [20], 0, (8, 6)),
    ([3], 7, (1, 6)),
    ([3], 8, (8, 6)),
]


@pytest.mark.parametrize(("lengths", "total", "expected"), FEW)
def test_few_rows_get_the_smallest_batch_that_holds_them(lengths, total, expected):
    """A bucket keeps its number of rows if there are as many rows in total."""
    sizes = rows_for_few(lengths, {16: 8, 32: 6}, total)
    assert (sizes[16], sizes[32]) == expected
    batches = batches_by_bucket(lengths, sizes)
    assert len(batches) == len({bucket_for(length, (16, 32)) for length in lengths})


def test_no_batch_is_empty():
    assert batches_by_bucket([], {16: 4}) == []
    assert [batch.index.tolist() for batch in batches_by_bucket([1, 2, 3], {16: 2})] == [[0, 1], [2, -1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bucket_lengths(0), "max_length=0; expected at least 1"),
        (lambda: bucket_lengths(5, 0), "shortest=0; expected at least 1"),
        (lambda: rows_by_budget((16, 32), 31), "tokens_per_batch=31 does not hold one row of 32 tokens"),
        (lambda: batches_by_bucket([1], {16: 0}), "batches of 0 rows of 16 tokens; expected at least 1"),
    ],
)
def test_invalid_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
