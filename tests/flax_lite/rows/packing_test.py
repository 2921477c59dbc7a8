"""Plans of packed rows contain every token once, and waste little room."""

import itertools

import numpy as np
import pytest

from flax_lite.rows.packing import count_packed_rows, pack_lengths, plan_packing


def corpus(sizes, rng):
    """Returns offsets of documents with these numbers of tokens, split into random sentences."""
    sentences, documents = [0], [0]
    for size in sizes:
        inner = np.sort(rng.choice(np.arange(1, size), min(size - 1, size // 7), replace=False)) if size > 1 else []
        sentences += (sentences[-1] + np.array([*inner, size])).tolist()
        documents.append(len(sentences) - 1)
    return np.array(sentences), np.array(documents)


@pytest.fixture(scope="module")
def offsets():
    rng = np.random.default_rng(0)
    return corpus(rng.integers(1, 400, 500), rng)


def rows_of(plan):
    return [list(zip(plan.first[a:b], plan.length[a:b], strict=True)) for a, b in itertools.pairwise(plan.row_offsets)]


@pytest.mark.parametrize("max_length", [3, 16, 128, 512])
def test_plan_packing_contains_every_token_once(offsets, max_length):
    plan = plan_packing(*offsets, max_length, seed=1, epoch=0)
    tokens = np.concatenate([np.arange(a, a + n) for a, n in zip(plan.first, plan.length, strict=True)])
    np.testing.assert_array_equal(np.sort(tokens), np.arange(offsets[0][-1]))
    assert all(sum(length + 2 for _, length in row) <= max_length for row in rows_of(plan))
    assert len(plan.row_offsets) - 1 == count_packed_rows(*offsets, max_length)


def test_plan_packing_crosses_no_document(offsets):
    plan = plan_packing(*offsets, 64, seed=1, epoch=0)
    bounds = offsets[0][offsets[1]]
    document = np.searchsorted(bounds, plan.first, side="right")
    np.testing.assert_array_equal(document, np.searchsorted(bounds, plan.first + plan.length - 1, side="right"))


def test_plan_packing_depends_only_on_seed_and_epoch(offsets):
    plans = {key: plan_packing(*offsets, 64, seed=key[0], epoch=key[1]) for key in ((1, 0), (1, 1), (2, 0))}
    again = plan_packing(*offsets, 64, seed=1, epoch=0)
    for one, other in zip(plans[1, 0], again, strict=True):
        np.testing.assert_array_equal(one, other)
    contents = [{frozenset(row) for row in rows_of(plan)} for plan in plans.values()]
    assert contents[0] != contents[1] != contents[2]  # other texts share a row
    orders = [[row[0] for row in rows_of(plan)] for plan in plans.values()]
    assert orders[0] != orders[1] != orders[2]


def test_plan_packing_wastes_little_room():
    """With many short texts, best-fit decreasing fills 97% of the room."""
    rng = np.random.default_rng(0)
    offsets = corpus(rng.integers(5, 120, 4000), rng)
    plan = plan_packing(*offsets, 128, seed=0, epoch=0)
    used = (plan.length + 2).sum()
    rows = len(plan.row_offsets) - 1
    assert rows >= -(-used // 128)
    assert used / (rows * 128) > 0.97


@pytest.mark.parametrize("seed", range(20))
def test_pack_lengths_is_best_fit_decreasing(seed):
    """Compared with the same rule applied text by text."""
    rng = np.random.default_rng(seed)
    max_length = int(rng.integers(8, 40))
    lengths = rng.integers(1, max_length - 1, int(rng.integers(1, 200)))
    packed = pack_lengths(np.bincount(lengths, minlength=max_length - 1), max_length)
    rooms = []
    for length in sorted(lengths.tolist(), reverse=True):
        fitting = [room for room in rooms if room >= length + 2]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else max_length) - length - 2)
    found = np.add.reduceat(packed.lengths + 2, packed.offsets[:-1])
    np.testing.assert_array_equal(np.sort(packed.lengths), np.sort(lengths))
    assert sorted(max_length - found) == sorted(rooms)


def test_pack_lengths_without_texts_has_no_rows():
    packed = pack_lengths(np.zeros(8, np.int64), 10)
    assert (len(packed.lengths), packed.offsets.tolist()) == (0, [0])


@pytest.mark.parametrize(
    ("histogram", "max_length", "message"),
    [([0, 1], 2, "from 3"), ([0, 1], 5000, "to 4096"), ([0] * 9 + [1], 10, "9 tokens does not fit rows of 10")],
)
def test_pack_lengths_refuses_invalid_arguments(histogram, max_length, message):
    with pytest.raises(ValueError, match=message):
        pack_lengths(np.array(histogram), max_length)
