"""Rows and batches: nothing is dropped, nothing doubled, and a run reads on where it was."""

import itertools

import numpy as np
import pytest

from train.tasks.rows import Row, RowSet, TrainingBatches, collect_rows, count_not_finite

LENGTHS = (8, 16, 24)


def rows_of(sizes, sequences=1):
    """Row i holds its own number, i + 1, as every token, and i as its label."""
    return RowSet(
        [
            Row(i, (np.full(size, i + 1, np.int32),) * sequences, (size // 2,) * sequences, {"labels": np.int32(i)})
            for i, size in enumerate(sizes)
        ],
        pad_id=0,
        lengths=LENGTHS,
        label_padding={},
    )


def numbers(batch):
    """The rows of a batch by their tokens, padding left out."""
    return [int(row.max()) - 1 for row in batch["input_ids"].reshape(len(batch["row"]), -1) if row.max()]


@pytest.mark.parametrize("seed", range(20))
def test_an_evaluation_reads_every_row_once(seed):
    draw = np.random.default_rng(seed)
    rows = rows_of(draw.integers(1, 25, size=draw.integers(1, 60)), sequences=int(draw.integers(1, 3)))
    multiple = int(draw.integers(1, 5))
    batches = list(rows.all_batches(int(draw.integers(1, 200)), multiple))

    assert sorted(itertools.chain(*map(numbers, batches))) == list(range(len(rows)))
    assert sum(batch["row_weights"].sum() for batch in batches) == len(rows)
    assert all(len(batch["row"]) % multiple == 0 for batch in batches)
    # A shape for each length, so a compilation for each.
    assert len({batch["input_ids"].shape for batch in batches}) <= len(LENGTHS)
    for batch in batches:
        real = batch["row"] >= 0
        assert (batch["labels"][real] == batch["row"][real]).all()
        assert (batch["attention_mask"].any(axis=-1).reshape(len(real), -1).all(-1) == real).all()
        assert ((batch["input_ids"] != 0) == (batch["attention_mask"] != 0)).all()


def test_a_batch_is_padded_and_typed():
    batch = rows_of([3, 5]).batch([1, 0], 3, 8)
    assert batch["input_ids"].tolist() == [[2] * 5 + [0] * 3, [1] * 3 + [0] * 5, [0] * 8]
    assert batch["token_type_ids"].tolist() == [[0, 0, 1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0, 0, 0], [0] * 8]
    assert batch["row"].tolist() == [1, 0, -1]


def test_labels_of_tokens_are_filled_up():
    rows = [Row(0, (np.int32([5, 6]),), (2,), {"tags": np.int32([3, 4]), "teacher_0": np.ones((2, 2), np.float32)})]
    batch = RowSet(rows, 0, LENGTHS, {"tags": -1, "teacher_0": 0.0}).batch([0], 2, 8)
    assert batch["tags"].tolist() == [[3, 4] + [-1] * 6, [-1] * 8]
    assert batch["teacher_0"].shape == (2, 8, 2)


def test_a_row_that_no_batch_takes_is_refused():
    with pytest.raises(ValueError, match="a row of 25 tokens"):
        rows_of([25])


@pytest.mark.parametrize(("num_rows", "batch_size"), [(7, 4), (8, 8), (40, 4), (100, 8), (9, 5), (131, 8)])
def test_training_on_distinct_rows_has_none_twice_in_a_batch(num_rows, batch_size):
    """Also where windows of sorted rows meet the end of a pass; and a run reads on where it was."""
    rows = rows_of(np.random.default_rng(0).integers(1, 25, size=num_rows))
    batches, per_pass = TrainingBatches(rows, batch_size, seed=1, distinct=True, window=4), num_rows // batch_size
    drawn = [numbers(batch) for batch in itertools.islice(batches.batches(0), 9 * per_pass)]
    for number in range(9):
        taken = np.concatenate(drawn[number * per_pass : (number + 1) * per_pass])
        assert len(set(taken.tolist())) == len(taken) == per_pass * batch_size
    assert {*itertools.chain(*drawn)} == set(range(num_rows))  # none is always left out
    for start in (1, per_pass - 1, per_pass, 2 * per_pass + 1, 5 * per_pass):
        later = [numbers(batch) for batch in itertools.islice(batches.batches(start), 5)]
        assert later[: len(drawn) - start] == drawn[start : start + 5]
    hosts = [itertools.islice(batches.batches(3, host, batch_size), 4) for host in range(batch_size)]
    shares = [sorted(itertools.chain(*map(numbers, each))) for each in zip(*hosts, strict=True)]
    assert shares == [sorted(batch) for batch in drawn[3:7]]


def test_training_on_distinct_rows_needs_a_batch_of_them():
    with pytest.raises(ValueError, match="3 rows make no batch of 4 distinct ones"):
        TrainingBatches(rows_of([1, 2, 3]), 4, seed=1, distinct=True)


@pytest.mark.parametrize(("num_rows", "batch_size"), [(7, 4), (40, 4), (100, 8), (3, 5)])
def test_training_passes_over_every_row_equally_often(num_rows, batch_size):
    sizes = np.random.default_rng(0).integers(1, 25, size=num_rows)
    batches = TrainingBatches(rows_of(sizes), batch_size, seed=1, window=4)
    steps = 4 * num_rows  # whole windows, and whole passes: batch_size * 4 of them
    drawn = [numbers(batch) for batch in itertools.islice(batches.batches(0), steps)]

    assert all(len(batch) == batch_size for batch in drawn)
    assert np.bincount(np.concatenate(drawn)).tolist() == [4 * batch_size] * num_rows
    other = TrainingBatches(rows_of(sizes), batch_size, seed=2, window=4)
    assert drawn != [numbers(batch) for batch in itertools.islice(other.batches(0), steps)]


def test_a_resumed_run_reads_on():
    batches = TrainingBatches(rows_of(np.arange(30) % 24 + 1), 4, seed=1, window=4)
    whole = [batch["row"].tolist() for batch in itertools.islice(batches.batches(0), 40)]
    for start in (1, 3, 4, 17, 39):
        resumed = [batch["row"].tolist() for batch in itertools.islice(batches.batches(start), 40 - start)]
        assert resumed == whole[start:]


def test_hosts_share_a_batch():
    batches = TrainingBatches(rows_of(np.arange(30) % 24 + 1), 4, seed=1, window=4)
    one = itertools.islice(batches.batches(0), 12)
    two = zip(*(itertools.islice(batches.batches(0, host, 2), 12) for host in range(2)), strict=True)
    for whole, parts in zip(one, two, strict=True):
        for name in whole:
            assert np.array_equal(np.concatenate([part[name] for part in parts]), whole[name])


def test_sorting_by_length_saves_padding():
    sizes = np.random.default_rng(0).integers(1, 25, size=400)
    padded = {
        window: sum(
            batch["input_ids"].size
            for batch in itertools.islice(TrainingBatches(rows_of(sizes), 8, 1, window=window).batches(0), 50)
        )
        for window in (1, 10)
    }
    assert padded[10] < 0.85 * padded[1]


def test_outputs_come_back_in_the_order_of_the_rows():
    rows = rows_of([3, 20, 5, 9])
    results = [{"sum": np.float32(1), "x": batch["labels"], "row": batch["row"]} for batch in rows.all_batches(24)]
    assert [int(kept["x"]) for kept in collect_rows(results, rows)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="twice"):
        collect_rows([*results, results[0]], rows)
    with pytest.raises(ValueError, match="of 4 rows were not evaluated"):
        collect_rows(results[1:], rows)


@pytest.mark.parametrize(("odd", "bad"), [(np.nan, 1), (np.inf, 1), (-np.inf, 1), (1e30, 0)])
def test_rows_that_are_no_numbers_are_counted(odd, bad):
    """Of rows that fill a batch up none is; a scalar is a sum over all."""
    logits = np.zeros((3, 2), np.float32)
    logits[1, 0], logits[2] = odd, np.nan
    results = [
        {"row": np.array([4, 0, -1]), "logits_0": logits, "task_loss": np.float32(np.nan)},
        {"row": np.array([1]), "logits_0": np.zeros((1, 2), np.float32), "task_loss": np.float32(0)},
    ]
    assert count_not_finite(results) == (bad, 3)
