"""The cases of a selection, and their batch."""

import numpy as np
import pytest

from benchmarks.compile_vs_run.cases import DEFAULT, EVERYTHING, KINDS, Case, Selection, Sizes, cases, make_batch


def test_a_selection_is_every_combination_once():
    found = cases([Selection(families=("bert",), depths=(3, 6), unrolls=(1, 3, 0, 8), remats=("none", "full"))])
    assert len(found) == len(set(found))
    assert {(case.num_layers, case.unroll) for case in found} == {(3, 1), (3, 0), (6, 1), (6, 3), (6, 0)}
    assert len(found) == 2 * 5


def test_a_forward_pass_recomputes_nothing():
    found = cases([Selection(kinds=KINDS, remats=("none", "full"))])
    assert {(case.kind, case.remat) for case in found} == {
        ("forward", "none"),
        *((kind, remat) for kind in ("pretraining", "distillation") for remat in ("none", "full")),
    }


def test_the_default_is_a_part_of_everything_and_has_scans_to_compare_with():
    default, everything = cases(DEFAULT), set(cases([EVERYTHING]))
    assert set(default) < everything
    assert 3 * len(default) < len(everything)
    for case in default:
        if case.unroll != 1:
            assert Case(family=case.family, kind=case.kind, num_layers=case.num_layers, remat=case.remat) in default


@pytest.mark.parametrize("length", [8, 16, 128])
@pytest.mark.parametrize("rows", [1, 13, 64])
def test_batches_have_padded_rows_and_masks_on_words(rows, length):
    sizes = Sizes(vocab_size=50, sequence_length=length, max_predictions=20)
    batch = make_batch(sizes, rows)
    assert all(len(array) == rows for array in batch.values())
    assert {name: array.dtype.name for name, array in batch.items() if array.dtype != np.int32} == {
        "masked_weights": "float32",
        "row_weights": "float32",
    }
    lengths = batch["attention_mask"].sum(axis=1)
    assert (lengths < length).sum() == -(-rows // 4)
    assert (np.diff(batch["attention_mask"], axis=1) <= 0).all()
    assert ((batch["input_ids"] > 0) == batch["attention_mask"]).all()
    assert (batch["token_type_ids"] <= batch["attention_mask"]).all()
    assert batch["input_ids"].max() < 50
    for row in range(rows):
        used = batch["masked_positions"][row][batch["masked_weights"][row] > 0]
        assert 1 <= len(used) <= 20
        assert len(set(used)) == len(used)
        assert used.max() < lengths[row]
    if rows == 64:  # every position of a row is masked somewhere
        assert set(batch["masked_positions"].ravel()) == set(range(length))
    if length == 128:
        assert (batch["masked_weights"].sum(axis=1)[lengths == length] == 19).all()
