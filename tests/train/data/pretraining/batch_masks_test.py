"""Masks drawn by the training step: rows come without masks, and the drawn masks follow the recipe on real text."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from flax_lite.rows.batch_masks import batch_masks
from flax_lite.rows.recipe import PretrainingRecipe
from flax_lite.training.steps import preparation_key
from train.data.pretraining.rows import held_out_rows, make_rows
from train.data.pretraining.statistics import unmasked_ids

RECIPE = PretrainingRecipe(
    rows="packed", max_length=64, max_predictions=24, masking="batch", max_ngram=1, whole_word=False
)
ON_ROWS = dataclasses.replace(RECIPE, masking="rows")


@pytest.mark.parametrize("rows", ["packed", "pairs"])
def test_rows_have_no_masks_before_the_step_and_masks_after(store, tokenizer_info, rows):
    """Apart from the masks, the rows are the same as with masks drawn row by row."""
    recipe = dataclasses.replace(RECIPE, rows=rows)
    plain = make_rows(store, tokenizer_info, recipe, seed=0).batch(range(32))
    other = make_rows(store, tokenizer_info, dataclasses.replace(recipe, masking="rows"), seed=0).batch(range(32))
    assert other.keys() - plain.keys() == {"masked_positions", "masked_ids", "masked_weights"}
    np.testing.assert_array_equal(plain["input_ids"], unmasked_ids(other))
    prepare = jax.jit(batch_masks(recipe, tokenizer_info, store.token_counts))
    masked = jax.device_get(prepare(preparation_key(0, 0), plain))
    assert masked.keys() == other.keys()
    for name in masked.keys() - {"input_ids", "masked_positions", "masked_ids", "masked_weights"}:
        np.testing.assert_array_equal(masked[name], other[name])
    np.testing.assert_array_equal(unmasked_ids(masked), plain["input_ids"])
    assert masked["masked_weights"].sum() == math.ceil(0.15 * plain["attention_mask"].sum())


def test_rows_with_masks_need_no_masking_in_the_step(store, tokenizer_info):
    assert batch_masks(ON_ROWS, tokenizer_info, store.token_counts) is None


def test_held_out_rows_have_the_same_masks_for_every_recipe(store, tokenizer_info):
    """Losses of runs with different masking are then comparable."""
    smoothed = dataclasses.replace(RECIPE, mask_smoothing=0.7)
    batches = [
        held_out_rows(store, tokenizer_info, recipe, num_rows=8).batch(range(8)) for recipe in (smoothed, ON_ROWS)
    ]
    assert batches[0].keys() == batches[1].keys()
    for name in batches[0]:
        np.testing.assert_array_equal(batches[0][name], batches[1][name])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_ngram": 3}, "max_ngram=1 and whole_word=False"),
        ({"whole_word": True}, "max_ngram=1 and whole_word=False"),
        ({"masking": "rows", "mask_smoothing": 0.7}, "needs masking=batch"),
        ({"masking": "somewhere"}, "rows, batch"),
    ],
)
def test_recipe_raises_for_invalid_masking(values, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **values)


def test_packing_of_novels_leaves_less_than_3_percent_padding(novel_pieces):
    recipe = dataclasses.replace(RECIPE, max_length=512, max_predictions=128)
    rows = make_rows(*novel_pieces, recipe, seed=0)
    assert rows.padding_share < 0.03
    mask = rows.batch(range(rows.epoch_size(0)))["attention_mask"]
    assert 1 - mask.mean() == pytest.approx(rows.padding_share)


def test_smoothed_masks_of_novels_follow_the_stated_power(novel_pieces):
    """log(-log(1 - p)) over log(count) has slope -power: the largest values of log w + Gumbel noise are the first
    arrivals of exponential clocks with rates w, so a token is chosen with p = 1 - exp(-c w) (see the test of
    mask_tokens). The counts are those of the whole corpus, the batches a part of its rows; ids are pooled by count, so
    that rare ids contribute. The tolerance is five standard deviations of the slope of weighted least squares, with
    the binomial variance of each point, and two percent for c, which differs between batches."""
    store, tokenizer = novel_pieces
    recipe = dataclasses.replace(RECIPE, max_length=512, max_predictions=128, mask_smoothing=0.7)
    rows = make_rows(store, tokenizer, recipe, seed=0)
    prepare = jax.jit(batch_masks(recipe, tokenizer, store.token_counts))
    chosen, seen = np.zeros((2, store.vocab_size), np.int64)
    wanted = found = 0
    for step in range(8):  # four epochs
        batch = rows.batch(range(256 * step, 256 * step + 256))
        masked = jax.device_get(prepare(preparation_key(0, step), batch))
        used = masked["masked_weights"] > 0
        chosen += np.bincount(masked["masked_ids"][used], minlength=store.vocab_size)
        seen += np.bincount(batch["input_ids"][batch["attention_mask"] > 0], minlength=store.vocab_size)
        wanted += math.ceil(0.15 * batch["attention_mask"].sum())
        found += int(used.sum())
    assert 0.999 * wanted < found <= wanted  # masks beyond the maximum of a row are dropped
    assert not chosen[~tokenizer.is_maskable].any()

    bins = np.floor(2 * np.log2(np.maximum(store.token_counts, 1))).astype(int)
    keep = tokenizer.is_maskable & (seen > 0)
    total, hits, logs = (
        np.bincount(bins[keep], values[keep])
        for values in (seen, chosen, seen * np.log(np.maximum(store.token_counts, 1)))
    )
    points = (hits > 50) & (hits < total)
    share, x = hits[points] / total[points], logs[points] / total[points]
    hazard = -np.log1p(-share)
    precision = total[points] * (1 - share) * hazard**2 / share
    x = x - np.average(x, weights=precision)
    slope = (precision * x * np.log(hazard)).sum() / (precision * x**2).sum()
    sigma = 1 / math.sqrt((precision * x**2).sum())
    assert points.sum() > 15
    assert abs(slope + 0.7) < 5 * sigma + 0.02, (slope, sigma)
