"""Masked-token selection: numbers, whole words and distributions, each compared with a value computed by hand."""

import itertools
from collections import Counter

import numpy as np
import pytest

from flax_lite.rows.masking import mask_ngrams

MASK, VOCAB = 4, 1000


def _row(rng, length, start_share=1.0, special_every=0):
    """Returns a row of random tokens; a token starts a word with probability `start_share`."""
    ids = rng.integers(5, VOCAB, length).astype(np.int32)
    starts = rng.random(length) < start_share
    candidate = np.ones(length, bool)
    if special_every:
        candidate[::special_every] = False
        ids[~candidate] = 2
    return ids, starts, candidate


def _mask(row, rng, **options):
    return mask_ngrams(*row, rng, mask_id=MASK, vocab_size=VOCAB, **options)


def _chosen(masked):
    return masked.positions[masked.weights > 0]


def _words(starts, candidate):
    """Returns the positions of each word, by definition."""
    words = []
    for position in np.flatnonzero(candidate):
        if starts[position] or position == 0 or not candidate[position - 1]:
            words.append([])
        words[-1].append(int(position))
    return words


@pytest.mark.parametrize(
    ("length", "max_predictions", "expected"),
    [(3, 20, 1), (9, 20, 1), (10, 20, 2), (64, 20, 10), (512, 77, 77), (512, 20, 20), (128, 128, 19)],
)
def test_mask_ngrams_chooses_the_stated_number(length, max_predictions, expected):
    """With words of one token the budget is always reached exactly: min(P, max(1, round(0.15 T)))."""
    rng = np.random.default_rng(0)
    masked = _mask(_row(rng, length), rng, max_predictions=max_predictions)
    assert masked.weights.sum() == expected
    assert len(masked.positions) == len(masked.original_ids) == len(masked.weights) == max_predictions


def test_mask_ngrams_can_be_undone_and_does_not_modify_its_argument():
    """The original tokens at the masked positions restore the row; unused slots are zero."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        row = _row(rng, int(rng.integers(3, 80)), start_share=0.6, special_every=11)
        before = row[0].copy()
        masked = _mask(row, rng, max_predictions=30)
        np.testing.assert_array_equal(row[0], before)
        used = masked.weights > 0
        restored = masked.input_ids.copy()
        restored[masked.positions[used]] = masked.original_ids[used]
        np.testing.assert_array_equal(restored, before)
        assert (np.diff(masked.positions[used]) > 0).all()
        assert (masked.weights[: used.sum()] == 1).all()
        assert not masked.positions[~used].any()
        assert not masked.original_ids[~used].any()


def test_mask_ngrams_masks_whole_words_and_no_special_tokens():
    """The masked positions are a union of words, for any arrangement of words and special tokens."""
    rng = np.random.default_rng(1)
    for _ in range(150):
        row = _row(rng, 100, start_share=rng.uniform(0.2, 1), special_every=int(rng.integers(2, 40)))
        chosen = set(_chosen(_mask(row, rng, max_predictions=15)).tolist())
        words = [set(word) for word in _words(*row[1:])]
        assert chosen == set().union(*(word for word in words if word & chosen))
        assert len(chosen) <= 15


def test_mask_ngrams_masks_pieces_separated_from_their_word():
    """After truncation a segment may start inside a word: the rest of the word is then a word."""
    candidate = np.array([False, True, True, False, True, False])
    row = np.arange(10, 16, dtype=np.int32), np.zeros(6, bool), candidate
    masked = _mask(row, np.random.default_rng(0), max_predictions=6, masked_fraction=1.0)
    np.testing.assert_array_equal(_chosen(masked), [1, 2, 4])


def test_mask_ngrams_skips_words_beyond_the_budget():
    """Words of four tokens exceed a budget of three: nothing is chosen, although at least one token is wanted."""
    ids, _, candidate = _row(np.random.default_rng(0), 20)
    starts = np.arange(20) % 4 == 0
    masked = _mask((ids, starts, candidate), np.random.default_rng(0), max_predictions=3)
    assert masked.weights.sum() == 0
    np.testing.assert_array_equal(masked.input_ids, ids)


def test_mask_ngrams_replaces_each_token_by_80_10_10():
    """The counts of [MASK], unchanged and random tokens are within 4.5 sigma, also right after an unchanged token.

    A random token equals [MASK] or the original by chance, in 1 of 1000 cases each. The shares after an unchanged token
    show that the tokens of an n-gram are drawn independently.
    """
    rng = np.random.default_rng(2)
    outcomes, after_kept = Counter(), Counter()
    replacements = []
    for _ in range(800):
        row = _row(rng, 512)
        masked = _mask(row, rng, max_predictions=77)
        chosen = _chosen(masked)
        now, before = masked.input_ids[chosen], row[0][chosen]
        kinds = np.where(now == MASK, "mask", np.where(now == before, "same", "random"))
        outcomes.update(kinds.tolist())
        neighbors = np.flatnonzero(np.diff(chosen) == 1)
        after_kept.update(kinds[neighbors + 1][kinds[neighbors] == "same"].tolist())
        replacements.append(now[kinds == "random"])
    shares = {"mask": 0.8 + 0.1 / VOCAB, "same": 0.1 + 0.1 / VOCAB, "random": 0.1 - 0.2 / VOCAB}
    for counts in (outcomes, after_kept):
        total = counts.total()
        assert total > 2000
        for kind, share in shares.items():
            assert abs(counts[kind] - share * total) < 4.5 * np.sqrt(share * (1 - share) * total), (kind, counts)
    values = np.concatenate(replacements)
    quarters = np.bincount(values * 4 // VOCAB, minlength=4)
    assert abs(quarters - len(values) / 4).max() < 4.5 * np.sqrt(len(values) * 3 / 16)
    assert (values.min(), values.max()) == (0, VOCAB - 1)


def test_mask_ngrams_draws_lengths_with_probability_proportional_to_1_over_n():
    """With a budget of 3 among 5000 tokens, the run lengths show which n were drawn; p(n) is 6/11, 3/11, 2/11.

    First n = 3: one run of 3, 2/11. First n = 2: any further n-gram is shortened to 1, so runs 2+1, 3/11. First n = 1:
    a second n of 2 or 3 is shortened to 2, so 2+1 again, 6/11 * 5/11; otherwise 1+1+1, (6/11)^2. Runs are adjacent by
    chance in less than 1 of 500 rows.
    """
    rng = np.random.default_rng(3)
    counts = Counter()
    trials = 1200
    row = _row(rng, 5000)
    for _ in range(trials):
        chosen = _chosen(_mask(row, rng, max_predictions=3))
        runs = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1)
        counts[tuple(sorted(map(len, runs)))] += 1
    expected = {(3,): 2 / 11, (1, 2): 3 / 11 + 30 / 121, (1, 1, 1): 36 / 121}
    for runs, share in expected.items():
        assert abs(counts[runs] - share * trials) < 4.5 * np.sqrt(share * (1 - share) * trials) + trials / 500, counts


def test_mask_ngrams_renormalizes_before_a_special_token_and_never_crosses_it():
    """Two words, a special token, two words, and a budget of 2: P(both on one side) = 4/9.

    With probability 1/2 the first draw is the first word of a side. It takes both words with p(2) = 1/3 (N = 2), or its
    neighbor is drawn next with 1/3: together 5/9. Otherwise it is the second word of a side, whose neighbor is drawn
    next with 1/3. The mean is 4/9. Without renormalization, p(n >= 2) would be 5/11 and the result 0.485, 6 sigma away.
    """
    rng = np.random.default_rng(4)
    candidate = np.array([True, True, False, True, True])
    row = np.arange(10, 15, dtype=np.int32), np.ones(5, bool), candidate
    trials = 6000
    both_on_one_side = sum(
        tuple(_chosen(_mask(row, rng, max_predictions=2, masked_fraction=1.0))) in {(0, 1), (3, 4)}
        for _ in range(trials)
    )
    assert abs(both_on_one_side - trials * 4 / 9) < 4.5 * np.sqrt(trials * 20 / 81)


def _plain_port(words, budget, max_ngram, rng):
    """A word-by-word port of the reference code, without special tokens."""
    order = list(range(len(words)))
    rng.shuffle(order)
    covered = set()
    for first in order:
        lengths = np.arange(1, min(max_ngram, len(words) - first) + 1)
        n = rng.choice(lengths, p=1 / lengths / (1 / lengths).sum())
        span = list(itertools.chain(*words[first : first + n]))
        while len(covered) + len(span) > budget and n > 1:
            n -= 1
            span = list(itertools.chain(*words[first : first + n]))
        if len(covered) + len(span) <= budget and not covered & set(span):
            covered |= set(span)
        if len(covered) >= budget:
            break
    return sorted(covered)


def test_mask_ngrams_agrees_with_a_plain_port():
    """Run lengths and numbers of tokens, with words of 1 to 3 tokens, are distributed as in the port (chi-squared)."""
    rng = np.random.default_rng(5)
    candidate = np.ones(60, bool)
    starts = np.array([True, True, False, True, False, False] * 10)
    row = rng.integers(5, VOCAB, 60).astype(np.int32), starts, candidate
    words = _words(starts, candidate)
    found, ported = Counter(), Counter()
    for _ in range(2500):
        for counts, chosen in (
            (found, _chosen(_mask(row, rng, max_predictions=20))),
            (ported, np.array(_plain_port(words, 9, 3, rng))),
        ):
            runs = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1)
            counts.update(("run", len(run)) for run in runs)
            counts["total", len(chosen)] += 1
            counts["first token", int(chosen[0]) // 6] += 1
    common = [key for key in found | ported if found[key] + ported[key] > 50]
    assert len(common) > 10
    distance = sum((found[key] - ported[key]) ** 2 / (found[key] + ported[key]) for key in common)
    # The runs of a row are dependent, so the sum is only roughly chi-squared; for equal distributions it is about
    # len(common).
    assert distance < 2.5 * len(common), (distance, len(common))


def test_mask_ngrams_of_single_tokens_is_berts_masking():
    """Every candidate and every pair of neighbors is equally likely, regardless of words, within 4.5 sigma."""
    rng = np.random.default_rng(6)
    row = _row(rng, 40, start_share=0.2, special_every=39)
    counts = np.zeros(40)
    adjacent = 0
    trials = 2000
    for _ in range(trials):
        chosen = _chosen(_mask(row, rng, max_predictions=6, max_ngram=1, whole_word=False))
        assert len(chosen) == 6
        counts[chosen] += 1
        adjacent += (np.diff(chosen) == 1).sum()
    share = 6 / 38
    assert not counts[[0, 39]].any()
    assert abs(counts[1:39] - trials * share).max() < 4.5 * np.sqrt(trials * share * (1 - share))
    # There are 37 neighboring pairs, each chosen with probability 6/38 * 5/37.
    assert abs(adjacent / trials - 37 * 6 / 38 * 5 / 37) < 4.5 / np.sqrt(trials)


def test_mask_ngrams_is_deterministic_given_the_generator():
    row = _row(np.random.default_rng(0), 200, start_share=0.7)
    first, second, third = (_mask(row, np.random.default_rng(seed), max_predictions=30) for seed in (7, 7, 8))
    for found, again in zip(first, second, strict=True):
        np.testing.assert_array_equal(found, again)
    assert (first.positions != third.positions).any()


@pytest.mark.parametrize("length", range(1, 8))
def test_mask_ngrams_handles_rows_shorter_than_an_ngram(length):
    rng = np.random.default_rng(0)
    masked = _mask(_row(rng, length), rng, max_predictions=8, max_ngram=10, masked_fraction=1.0)
    np.testing.assert_array_equal(_chosen(masked), np.arange(length))


def test_mask_ngrams_without_candidates_or_budget_changes_nothing():
    rng = np.random.default_rng(0)
    ids, starts, candidate = _row(rng, 10)
    for row, fraction in (((ids, starts, np.zeros(10, bool)), 0.15), ((ids, starts, candidate), 0.0)):
        masked = _mask(row, rng, max_predictions=4, masked_fraction=fraction)
        np.testing.assert_array_equal(masked.input_ids, ids)
        assert not masked.weights.any()


@pytest.mark.parametrize("options", [{"max_predictions": 0}, {"max_ngram": 0}, {"masked_fraction": 1.5}])
def test_mask_ngrams_refuses_invalid_arguments(options):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=f"{next(iter(options))}={next(iter(options.values()))}"):
        _mask(_row(rng, 10), rng, **({"max_predictions": 4} | options))
