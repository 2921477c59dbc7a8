"""Packed rows: their contents, and the independence of the texts in a row."""

import copy

import numpy as np
import pytest

from flax_lite.rows.recipe import PretrainingRecipe
from tests.flax_lite import tiny
from train.data.pretraining.rows import make_rows
from train.data.pretraining.statistics import unmasked_ids


@pytest.fixture(scope="module")
def packed(store, tokenizer_info):
    recipe = PretrainingRecipe(rows="packed", max_length=64, max_predictions=10, max_ngram=1, whole_word=False)
    return make_rows(store, tokenizer_info, recipe, seed=0)


def test_packed_rows_hold_every_token_once_per_epoch(packed, store, tokenizer_info):
    """Without masks and special tokens, the rows of an epoch are a permutation of the corpus."""
    batch = packed.batch(range(packed.epoch_size(0)))
    ids = unmasked_ids(batch)
    special = np.isin(ids, [tokenizer_info.cls_id, tokenizer_info.sep_id]) | (batch["attention_mask"] == 0)
    np.testing.assert_array_equal(np.sort(ids[~special]), np.sort(store.ids[:]))
    padding = 1 - batch["attention_mask"].mean()
    assert packed.padding_share == pytest.approx(padding)
    assert padding < 0.03


def test_packed_rows_number_their_texts_and_restart_positions(packed, tokenizer_info):
    batch = packed.batch(range(50))
    ids = unmasked_ids(batch)
    assert set(batch) >= {"segment_ids", "position_ids"}
    assert "sentence_label" not in batch
    for row in range(50):
        length = batch["attention_mask"][row].sum()
        segments, positions = batch["segment_ids"][row], batch["position_ids"][row]
        assert not segments[length:].any()
        begins = np.flatnonzero(ids[row, :length] == tokenizer_info.cls_id)
        np.testing.assert_array_equal(begins, np.flatnonzero(np.diff(segments[:length], prepend=0)))
        np.testing.assert_array_equal(positions[begins], 0)
        steps = np.diff(positions[:length])
        assert set(np.delete(steps, begins[1:] - 1).tolist()) <= {1}
        assert segments.max() == len(begins)
        np.testing.assert_array_equal(np.flatnonzero(ids[row, :length] == tokenizer_info.sep_id)[:-1], begins[1:] - 1)


def test_packed_rows_differ_between_epochs_and_survive_copying(packed):
    size = packed.epoch_size(0)
    assert packed.epoch_size(1) == size
    first, second = packed.batch(range(20)), packed.batch(range(size, size + 20))
    assert not np.array_equal(first["input_ids"], second["input_ids"])
    again = copy.copy(packed).batch(range(20))
    assert all(np.array_equal(again[name], first[name]) for name in first)


def test_packed_texts_do_not_see_each_other(packed):
    """The model's output for a text is the same for a packed row and for a row of its own."""
    batch = packed.batch(range(40))
    row = int(np.argmax(batch["segment_ids"].max(axis=1)))
    assert batch["segment_ids"][row].max() >= 2
    config = tiny.albert(vocab_size=packed.tokenizer.vocab_size, max_position_embeddings=64)
    model = tiny.make("MaskedLM", config)
    fields = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "segment_ids")
    packed_logits = tiny.call(model, **{name: batch[name][row : row + 1] for name in fields}).logits[0]
    texts = [np.flatnonzero(batch["segment_ids"][row] == text + 1) for text in range(batch["segment_ids"][row].max())]
    ids, mask = np.zeros((2, len(texts), 64), np.int32)
    for text, positions in enumerate(texts):
        ids[text, : len(positions)], mask[text, : len(positions)] = batch["input_ids"][row, positions], 1
    single_logits = tiny.call(model, input_ids=ids, attention_mask=mask).logits
    for text, positions in enumerate(texts):
        np.testing.assert_allclose(packed_logits[positions], single_logits[text, : len(positions)], atol=1e-5)


def test_an_unknown_kind_of_rows_raises():
    with pytest.raises(ValueError, match="pairs, packed, got 'piles'"):
        PretrainingRecipe(rows="piles", max_length=64, max_predictions=10)
