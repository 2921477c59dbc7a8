"""Rows and batches: every row occurs once, and a resumed run continues with the same batches."""

import itertools

import numpy as np
import pytest

from train.tasks.rows import Row, RowSet, TrainingBatches, collect_rows, count_not_finite

LENGTHS = (8, 16, 24)


def rows_of(sizes, sequences=1):
    """Creates rows in which every token of row i is i + 1, and the label is i."""
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
    """Returns the numbers of the rows of a batch, without padding rows."""
    return [int(row.max()) - 1 for row in batch["input_ids"].reshape(len(batch["row"]), -1) if row.max()]


@pytest.mark.parametrize("seed", range(20))
def test_evaluation_batches_have_every_row_once(seed):
    draw = np.random.default_rng(seed)
    rows = rows_of(draw.integers(1, 25, size=draw.integers(1, 60)), sequences=int(draw.integers(1, 3)))
    multiple = int(draw.integers(1, 5))
    batches = list(rows.all_batches(int(draw.integers(1, 200)), multiple))

    assert sorted(itertools.chain(*map(numbers, batches))) == list(range(len(rows)))
    assert sum(batch["row_weights"].sum() for batch in batches) == len(rows)
    assert all(len(batch["row"]) % multiple == 0 for batch in batches)
    # One shape, and so one compilation, per length.
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


def test_token_labels_are_padded():
    rows = [Row(0, (np.int32([5, 6]),), (2,), {"tags": np.int32([3, 4]), "teacher_0": np.ones((2, 2), np.float32)})]
    batch = RowSet(rows, 0, LENGTHS, {"tags": -1, "teacher_0": 0.0}).batch([0], 2, 8)
    assert batch["tags"].tolist() == [[3, 4] + [-1] * 6, [-1] * 8]
    assert batch["teacher_0"].shape == (2, 8, 2)


def test_a_row_longer_than_every_batch_raises():
    with pytest.raises(ValueError, match="a row has 25 tokens"):
        rows_of([25])


@pytest.mark.parametrize(("num_rows", "batch_size"), [(7, 4), (8, 8), (40, 4), (100, 8), (9, 5), (131, 8)])
def test_distinct_batches_have_no_row_twice(num_rows, batch_size):
    """Also at the end of an epoch within a window, and after resuming."""
    rows = rows_of(np.random.default_rng(0).integers(1, 25, size=num_rows))
    batches, per_epoch = TrainingBatches(rows, batch_size, seed=1, distinct=True, window=4), num_rows // batch_size
    drawn = [numbers(batch) for batch in itertools.islice(batches.batches(0), 9 * per_epoch)]
    for number in range(9):
        taken = np.concatenate(drawn[number * per_epoch : (number + 1) * per_epoch])
        assert len(set(taken.tolist())) == len(taken) == per_epoch * batch_size
    assert {*itertools.chain(*drawn)} == set(range(num_rows))  # no row is dropped in every epoch
    for start in (1, per_epoch - 1, per_epoch, 2 * per_epoch + 1, 5 * per_epoch):
        later = [numbers(batch) for batch in itertools.islice(batches.batches(start), 5)]
        assert later[: len(drawn) - start] == drawn[start : start + 5]
    hosts = [itertools.islice(batches.batches(3, host, batch_size), 4) for host in range(batch_size)]
    shares = [sorted(itertools.chain(*map(numbers, each))) for each in zip(*hosts, strict=True)]
    assert shares == [sorted(batch) for batch in drawn[3:7]]


def test_distinct_batches_raise_for_too_few_rows():
    with pytest.raises(ValueError, match="3 rows are too few for a batch of 4 distinct rows"):
        TrainingBatches(rows_of([1, 2, 3]), 4, seed=1, distinct=True)


@pytest.mark.parametrize(("num_rows", "batch_size"), [(7, 4), (40, 4), (100, 8), (3, 5)])
def test_training_batches_have_every_row_equally_often(num_rows, batch_size):
    sizes = np.random.default_rng(0).integers(1, 25, size=num_rows)
    batches = TrainingBatches(rows_of(sizes), batch_size, seed=1, window=4)
    steps = 4 * num_rows  # whole windows, and batch_size * 4 whole epochs
    drawn = [numbers(batch) for batch in itertools.islice(batches.batches(0), steps)]

    assert all(len(batch) == batch_size for batch in drawn)
    assert np.bincount(np.concatenate(drawn)).tolist() == [4 * batch_size] * num_rows
    other = TrainingBatches(rows_of(sizes), batch_size, seed=2, window=4)
    assert drawn != [numbers(batch) for batch in itertools.islice(other.batches(0), steps)]


def test_a_resumed_run_continues_with_the_same_batches():
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


def test_results_are_collected_in_the_order_of_the_rows():
    rows = rows_of([3, 20, 5, 9])
    results = [{"sum": np.float32(1), "x": batch["labels"], "row": batch["row"]} for batch in rows.all_batches(24)]
    assert [int(kept["x"]) for kept in collect_rows(results, rows)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="twice"):
        collect_rows([*results, results[0]], rows)
    with pytest.raises(ValueError, match="of 4 rows were not evaluated"):
        collect_rows(results[1:], rows)


@pytest.mark.parametrize(("odd", "bad"), [(np.nan, 1), (np.inf, 1), (-np.inf, 1), (1e30, 0)])
def test_rows_with_nan_or_infinity_are_counted(odd, bad):
    """Padding rows and scalars are ignored."""
    logits = np.zeros((3, 2), np.float32)
    logits[1, 0], logits[2] = odd, np.nan
    results = [
        {"row": np.array([4, 0, -1]), "logits_0": logits, "task_loss": np.float32(np.nan)},
        {"row": np.array([1]), "logits_0": np.zeros((1, 2), np.float32), "task_loss": np.float32(0)},
    ]
    assert count_not_finite(results) == (bad, 3)
