"""Token masks over the whole batch: their number, their distribution, and independence of devices and sharding."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from flax_lite.rows.token_masks import mask_tokens, smoothed_weights
from tests.flax_lite import tiny
from tests.flax_lite.jaxprs import largest_intermediates, trace

MASK, SPECIALS, VOCAB = 4, 5, 300
ROWS, LENGTH = 16, 64


def make_batch(seed=0, rows=ROWS):
    """Returns ids and mask [B, T]: rows of different lengths between special tokens, ids by Zipf's law."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, VOCAB - SPECIALS + 1)
    ids = SPECIALS + rng.choice(VOCAB - SPECIALS, (rows, LENGTH), p=shares / shares.sum())
    lengths = rng.integers(LENGTH // 2, LENGTH + 1, rows)
    ids[:, 0], ids[np.arange(rows), lengths - 1] = 2, 3
    mask = np.arange(LENGTH) < lengths[:, None]
    return jnp.asarray(ids * mask, jnp.int32), jnp.asarray(mask, jnp.int32)


def count(ids, mask):
    return np.bincount(np.asarray(ids)[np.asarray(mask) > 0], minlength=VOCAB)


def weights_of(ids, mask, power=0.7):
    return jnp.asarray(smoothed_weights(count(ids, mask), np.arange(VOCAB) >= SPECIALS, power))


masks = functools.partial(mask_tokens, max_predictions=LENGTH, mask_id=MASK)
draw = jax.jit(masks, static_argnames=("max_predictions", "masked_fraction", "mask_id"))


@functools.partial(jax.jit, static_argnames=("number", "max_predictions", "masked_fraction", "mask_id"))
def _draws(number, *args, **options):
    keys = jax.random.split(jax.random.key(0), number)
    return jax.vmap(lambda key: masks(key, *args, **options))(keys)


def draws(number, *args, **options):
    """Returns `number` independent draws on one batch, stacked."""
    return jax.device_get(_draws(number, *args, **options))


def selection_counts(masked):
    """Returns how often each position was chosen, summed over the leading axis of stacked draws: [B, T]."""
    counts = np.zeros((ROWS, LENGTH))
    np.add.at(counts, (np.arange(ROWS)[:, None], masked["masked_positions"]), masked["masked_weights"])
    return counts


@pytest.mark.parametrize(("seed", "fraction"), [(0, 0.0), (1, 0.001), (2, 0.5), (3, 0.5)])
def test_mask_tokens_chooses_the_stated_number_over_the_batch(seed, fraction):
    """ceil(fraction * real tokens) in total, counting special tokens but not padding; rows differ in their number."""
    ids, mask = make_batch(seed)
    masked = draw(jax.random.key(seed), ids, mask, weights_of(ids, mask), masked_fraction=fraction)
    assert np.sum(masked["masked_weights"]) == math.ceil(fraction * int(mask.sum()))
    per_row = np.sum(masked["masked_weights"], axis=1) / np.sum(mask, axis=1)
    assert fraction < 0.1 or per_row.max() > 1.2 * per_row.min()


@pytest.mark.parametrize("total", [100_000, 99_999, 100_001])
def test_mask_tokens_rounds_up_exactly(total):
    """In float32, 0.15 * 100_000 is 15_000.001, whose ceiling is one too many; the number is computed in integers."""
    ids = jnp.full((200, 512), 7, jnp.int32)
    mask = (jnp.arange(ids.size) < total).astype(jnp.int32).reshape(ids.shape)
    masked = draw(jax.random.key(0), ids, mask, jnp.ones(VOCAB), max_predictions=512)
    assert np.sum(masked["masked_weights"]) == math.ceil(total * 15 / 100)


def test_mask_tokens_chooses_exactly_among_equal_scores(monkeypatch):
    """With noise rounded to integers nearly all scores are tied; a threshold alone would choose too many."""
    gumbel = jax.random.gumbel
    monkeypatch.setattr(jax.random, "gumbel", lambda *args, **options: jnp.round(gumbel(*args, **options)))
    ids, mask = make_batch()
    masked = jax.jit(lambda: masks(jax.random.key(0), ids, mask, jnp.ones(VOCAB)))()
    assert np.sum(masked["masked_weights"]) == math.ceil(0.15 * int(mask.sum()))


def test_mask_tokens_can_be_undone_and_changes_nothing_else():
    """The original tokens at the masked positions restore the batch.

    Positions ascend, so they are distinct, and have tokens of positive weight. Unused slots come last and are zero,
    also if P exceeds T.
    """
    ids, mask = make_batch()
    weights = weights_of(ids, mask)
    dtypes = {"input_ids": "int32", "masked_positions": "int32", "masked_ids": "int32", "masked_weights": "float32"}
    for masked in (draw(jax.random.key(seed), ids, mask, weights, max_predictions=LENGTH + 10) for seed in range(10)):
        assert {name: array.dtype.name for name, array in masked.items()} == dtypes
        assert masked["masked_positions"].shape == (ROWS, LENGTH + 10)
        assert np.sum(masked["masked_weights"]) == math.ceil(0.15 * int(mask.sum()))
        restored, positions, originals, used = (np.array(masked[name]) for name in dtypes)
        assert (np.diff(used, axis=1) <= 0).all()
        used = used > 0
        assert (np.diff(positions, axis=1)[used[:, 1:]] > 0).all()
        assert not positions[~used].any()
        assert not originals[~used].any()
        assert (originals[used] >= SPECIALS).all()
        rows = np.nonzero(used)[0]
        assert np.asarray(mask)[rows, positions[used]].all()
        assert (restored != np.asarray(ids)).any()
        restored[rows, positions[used]] = originals[used]
        np.testing.assert_array_equal(restored, ids)


def test_mask_tokens_never_chooses_padding_whose_id_has_a_weight():
    """Padding is identified by the attention mask, not by its id."""
    ids, mask = make_batch()
    masked = draws(30, ids, mask, jnp.ones(VOCAB), masked_fraction=1.0)
    np.testing.assert_array_equal(selection_counts(masked), 30 * np.asarray(mask))


def test_mask_tokens_replaces_each_token_by_80_10_10():
    """The counts of mask, unchanged and random tokens are within 5 sigma, also right after an unchanged token.

    A random id equals the mask or the original by chance, in 1 of V cases each. Random ids are uniform over the whole
    vocabulary: each quarter within 5 sigma, both ends included.
    """
    vocab = 256
    ids = jnp.asarray(np.random.default_rng(0).integers(SPECIALS, vocab, (64, 512)), jnp.int32)
    masked = draws(4, ids, jnp.ones_like(ids), jnp.ones(vocab), max_predictions=256, masked_fraction=0.25)
    used = masked["masked_weights"] > 0
    before = masked["masked_ids"]
    now = np.take_along_axis(masked["input_ids"], masked["masked_positions"], axis=-1)
    kinds = np.where(now == MASK, 0, np.where(now == before, 1, 2))
    follows = np.zeros_like(used)
    follows[..., 1:] = (np.diff(masked["masked_positions"]) == 1) & (kinds[..., :-1] == 1) & used[..., 1:]
    shares = np.array([0.8 + 0.1 / vocab, 0.1 + 0.1 / vocab, 0.1 - 0.2 / vocab])
    for which in (used, follows):
        counts = np.bincount(kinds[which], minlength=3)
        assert counts.sum() > 500
        bound = 5 * np.sqrt(shares * (1 - shares) * counts.sum())
        assert (abs(counts - shares * counts.sum()) < bound).all(), counts
    drawn = now[used & (kinds == 2)]
    quarters = np.bincount(drawn * 4 // vocab, minlength=4)
    assert abs(quarters - len(drawn) / 4).max() < 5 * np.sqrt(len(drawn) * 3 / 16)
    assert (drawn.min(), drawn.max()) == (0, vocab - 1)


def test_mask_tokens_equals_successive_draws_without_replacement():
    """Two of four tokens with weights 1, 2, 4, 8: all six pairs have the probability of two successive draws.

    P(i then j) = w_i / 15 * w_j / (15 - w_i); counts are within 5 sigma.
    """
    weights, trials = np.array([1.0, 2.0, 4.0, 8.0]), 20_000
    ids = jnp.arange(4, dtype=jnp.int32)[None]
    masked = draws(trials, ids, jnp.ones_like(ids), jnp.asarray(weights), masked_fraction=0.5, mask_id=0)
    pairs = np.sort(masked["masked_positions"][:, 0, :2], axis=1)
    for i, j in itertools.combinations(range(4), 2):
        one, other = weights[i], weights[j]
        share = one / 15 * other / (15 - one) + other / 15 * one / (15 - other)
        found = int((pairs == (i, j)).all(axis=1).sum())
        assert abs(found - share * trials) < 5 * math.sqrt(share * (1 - share) * trials), (i, j)


def test_mask_tokens_follows_the_power_law():
    """log(-log(1 - p)) is a linear function of log(count) with slope -power.

    log w + Gumbel noise is -log of an exponential variable of rate w, so the n highest are the first n arrivals. A
    token of weight w arrives before the n-th arrival at time c with p = 1 - exp(-c w), hence log(-log(1 - p)) = log c +
    log w. The time c varies between draws (by about 1/sqrt(n), 4%), equally for all ids.

    Each id is one point; its variance is that of a binomial share of m trials by the delta method, p / (m (1 - p) L^2)
    with L = -log(1 - p). The bound is 5 standard deviations of the slope of weighted least squares.
    """
    trials, power = 400, 0.7
    ids, mask = make_batch(rows=64)
    counts = count(ids, mask)
    masked = draws(trials, ids, mask, weights_of(ids, mask, power))
    chosen = np.bincount(masked["masked_ids"].ravel(), weights=masked["masked_weights"].ravel(), minlength=VOCAB)
    known = (np.arange(VOCAB) >= SPECIALS) & (counts > 0)
    assert not chosen[~known].any()
    total = trials * counts[known]
    share = chosen[known] / total
    hazard = -np.log1p(-share)
    x, y, precision = np.log(counts[known]), np.log(hazard), total * (1 - share) * hazard**2 / share
    x = x - np.average(x, weights=precision)
    information = (precision * x**2).sum()
    slope, sigma = (precision * x * y).sum() / information, 1 / math.sqrt(information)
    assert sigma < 0.005
    assert abs(slope + power) < 5 * sigma, (slope, sigma)


def test_mask_tokens_of_equal_weights_is_uniform_over_positions():
    """Each of the m candidates is among the n chosen tokens with probability n/m, within 5 sigma."""
    trials = 1000
    ids, mask = make_batch()
    counts = selection_counts(draws(trials, ids, mask, weights_of(ids, mask, power=0.0)))
    is_candidate = (np.asarray(ids) >= SPECIALS) & (np.asarray(mask) > 0)
    share = math.ceil(0.15 * int(mask.sum())) / is_candidate.sum()
    assert not counts[~is_candidate].any()
    assert abs(counts[is_candidate] - trials * share).max() < 5 * math.sqrt(trials * share * (1 - share))


def test_mask_tokens_drops_tokens_beyond_the_slots():
    """A row keeps min(P, chosen) of its chosen tokens, and no other row gets those it drops."""
    ids, mask = make_batch()
    weights, max_predictions = weights_of(ids, mask), 6
    roomy = jax.device_get(draw(jax.random.key(1), ids, mask, weights))
    tight = jax.device_get(draw(jax.random.key(1), ids, mask, weights, max_predictions=max_predictions))
    wanted = roomy["masked_weights"].sum(axis=1)
    assert (wanted > max_predictions).any()
    np.testing.assert_array_equal(tight["masked_weights"].sum(axis=1), np.minimum(wanted, max_predictions))
    chosen, kept = selection_counts(roomy), selection_counts(tight)
    assert (kept <= chosen).all()
    unchanged = kept == 0
    np.testing.assert_array_equal(tight["input_ids"][unchanged], np.asarray(ids)[unchanged])


def test_mask_tokens_keeps_the_highest_of_a_row():
    """The highest scores are kept, not the first: a heavy token after nine light ones takes the only slot."""
    ids = jnp.asarray([[8] * 9 + [9]], jnp.int32)
    weights = jnp.asarray(np.where(np.arange(VOCAB) == 9, 1e6, 1), jnp.float32)
    masked = draw(jax.random.key(0), ids, jnp.ones_like(ids), weights, max_predictions=1, masked_fraction=0.5)
    assert (masked["masked_positions"], masked["masked_weights"]) == (9, 1)


def test_mask_tokens_takes_all_candidates_if_there_are_too_few():
    ids, mask = make_batch()
    weights = jnp.asarray(np.where(np.arange(VOCAB) == 20, 0.3, 0), jnp.float32)
    masked = draw(jax.random.key(0), ids, mask, weights)
    expected = (np.asarray(ids) == 20) & (np.asarray(mask) > 0)
    assert 0 < expected.sum() < 0.15 * mask.sum()
    np.testing.assert_array_equal(selection_counts(jax.device_get(masked)), expected)
    for without_candidates in ((ids, mask, jnp.zeros(VOCAB)), (ids, jnp.zeros_like(mask), weights)):
        masked = draw(jax.random.key(0), *without_candidates)
        assert not np.any(masked["masked_weights"])
        np.testing.assert_array_equal(masked["input_ids"], ids)


def test_mask_tokens_depends_on_the_key_and_not_on_devices():
    """The bits of a threefry key do not depend on the sharding, and scores are sorted over all devices."""
    assert jax.device_count() == 8
    ids, mask = make_batch()
    weights, mesh = weights_of(ids, mask), tiny.mesh(4, 2)
    rows, everywhere = NamedSharding(mesh, PartitionSpec(mesh.axis_names)), NamedSharding(mesh, PartitionSpec())
    one, other = (draw(jax.random.key(seed), ids, mask, weights, max_predictions=6) for seed in (0, 1))
    placed = jax.device_put((jax.random.key(0), weights), everywhere)
    eight = draw(placed[0], *jax.device_put((ids, mask), rows), placed[1], max_predictions=6)
    assert eight["input_ids"].sharding.is_equivalent_to(rows, 2)
    jax.tree.map(np.testing.assert_array_equal, eight, one)
    assert (np.asarray(other["masked_positions"]) != np.asarray(one["masked_positions"])).any()


def test_mask_tokens_has_no_array_over_positions_and_vocabulary():
    """The largest array is the two words of noise per position; only the weights have V elements."""
    ids, mask = make_batch()
    largest = largest_intermediates(trace(masks, jax.random.key(0), ids, mask, weights_of(ids, mask)))[0]
    assert largest.elements <= 2 * ids.size, largest


@pytest.mark.parametrize(
    ("name", "values"),
    [("max_predictions", (0,)), ("mask_id", (-1, VOCAB)), ("masked_fraction", (-0.1, 1e-5, 1.5, math.nan))],
)
def test_mask_tokens_refuses_invalid_arguments(name, values):
    ids, mask = make_batch()
    for value in values:
        with pytest.raises(ValueError, match=f"{name}={value}"):
            draw(jax.random.key(0), ids, mask, jnp.ones(VOCAB), **{name: value})


def test_smoothed_weights_are_a_power_of_the_count():
    """An id that does not occur counts as one that occurs once."""
    counts, maskable = np.array([9, 0, 1, 4, 16]), np.array([False, True, True, True, True])
    weights = smoothed_weights(counts, maskable, 0.5)
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, np.float32([0, 1, 1, 0.5, 0.25]))
    np.testing.assert_array_equal(smoothed_weights(counts, maskable, 0), maskable.astype(np.float32))


@pytest.mark.parametrize(
    ("counts", "maskable", "power", "message"),
    [
        ([1, 2], [True, True], -0.1, "power >= 0, got -0.1"),
        ([1, 2], [True, True], math.inf, "finite power"),
        ([1, 2], [True, True], math.nan, "finite power"),
        ([1, -2], [True, True], 0.7, "got -2 for id 1"),
        ([1, 2], [False, False], 0.7, "none of 2 ids"),
        ([1, 10**9], [True, True], 5.0, r"power=5\.0 is too large: 1000000000\^-5\.0"),
    ],
)
def test_smoothed_weights_refuses_invalid_arguments(counts, maskable, power, message):
    with pytest.raises(ValueError, match=message):
        smoothed_weights(np.array(counts), np.array(maskable), power)
