"""Row statistics of rows written by hand."""

import numpy as np
import pytest

from flax_lite.rows.recipe import TokenizerInfo
from train.data.pretraining.statistics import RowStatistics, prediction_mask, unmasked_ids

PAD, CLS, SEP, MASK = 0, 1, 2, 3
# Ids 4 to 9 start words, 10 and 11 continue them.
INFO = TokenizerInfo(
    vocab_size=12,
    pad_id=PAD,
    cls_id=CLS,
    sep_id=SEP,
    mask_id=MASK,
    is_maskable=np.arange(12) > MASK,
    starts_word=np.arange(12) < 10,
)


@pytest.fixture
def batch():
    """Two rows of 10 positions with 5 masked positions. The first row hides the neighbors "4 10" and 5 and keeps 7; the
    second replaces 8 with 9."""
    rows = {
        "input_ids": [
            [CLS, MASK, MASK, MASK, 6, SEP, 7, 11, SEP, PAD],
            [CLS, 9, SEP, 6, SEP, PAD, PAD, PAD, PAD, PAD],
        ],
        "attention_mask": [[1] * 9 + [0], [1] * 5 + [0] * 5],
        "token_type_ids": [[0] * 6 + [1] * 3 + [0], [0] * 3 + [1] * 2 + [0] * 5],
        "masked_positions": [[1, 2, 3, 6, 0], [1, 0, 0, 0, 0]],
        "masked_ids": [[4, 10, 5, 7, 0], [8, 0, 0, 0, 0]],
        "sentence_label": [1, 0],
    }
    arrays = {name: np.array(values, np.int32) for name, values in rows.items()}
    return arrays | {"masked_weights": np.array([[1, 1, 1, 1, 0], [1, 0, 0, 0, 0]], np.float32)}


def test_unmasked_ids_undoes_the_masks(batch):
    np.testing.assert_array_equal(unmasked_ids(batch)[0], [CLS, 4, 10, 5, 6, SEP, 7, 11, SEP, PAD])
    np.testing.assert_array_equal(unmasked_ids(batch)[1][:5], [CLS, 8, SEP, 6, SEP])
    assert [np.flatnonzero(row).tolist() for row in prediction_mask(batch)] == [[1, 2, 3, 6], [1]]


def test_statistics_count_a_batch(batch):
    statistics = RowStatistics(INFO)
    statistics.add(batch)
    assert (statistics.rows, statistics.tokens, statistics.num_masked) == (2, 14, 5)
    assert statistics.masked == {"hidden": 3, "replaced": 1, "kept": 1}
    assert statistics.masked_by_run.tolist() == [2, 3, 0, 0]
    assert statistics.row_lengths.nonzero()[0].tolist() == [5, 9]
    assert statistics.shares() == {
        "padding": pytest.approx(6 / 20),
        "masked": pytest.approx(5 / 8),
        "slots used": pytest.approx(5 / 10),
        "label 1": pytest.approx(1 / 2),
    }


def test_statistics_add_up_over_batches(batch):
    whole, parts = RowStatistics(INFO), RowStatistics(INFO)
    whole.add({name: np.concatenate([array, array]) for name, array in batch.items()})
    parts.add(batch)
    parts.add(batch)
    assert whole.shares() == parts.shares()
    assert whole.masked == parts.masked
    np.testing.assert_array_equal(whole.masked_by_run, parts.masked_by_run)


def test_shares_of_no_rows_are_defined():
    assert set(RowStatistics(INFO).shares().values()) <= {0.0, 1.0}
