"""Masked-token selection: sizes, words, shares and distributions, each against a count that can be worked out."""

import itertools
from collections import Counter

import numpy as np
import pytest

from flax_lite.rows.masking import mask_ngrams

MASK, VOCAB = 4, 1000


def _row(rng, length, start_share=1.0, special_every=0):
    """A row of random tokens; words start with probability `start_share`."""
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
    """Lists of the positions of each word, by the definition."""
    words = []
    for place in np.flatnonzero(candidate):
        if starts[place] or place == 0 or not candidate[place - 1]:
            words.append([])
        words[-1].append(int(place))
    return words


@pytest.mark.parametrize(
    ("length", "max_predictions", "expected"),
    [(3, 20, 1), (9, 20, 1), (10, 20, 2), (64, 20, 10), (512, 77, 77), (512, 20, 20), (128, 128, 19)],
)
def test_mask_ngrams_chooses_the_stated_number(length, max_predictions, expected):
    """Of words of one token any remainder can be filled, so the number is exact: min(P, max(1, round(0.15 T)))."""
    rng = np.random.default_rng(0)
    masked = _mask(_row(rng, length), rng, max_predictions=max_predictions)
    assert masked.weights.sum() == expected
    assert len(masked.positions) == len(masked.original_ids) == len(masked.weights) == max_predictions


def test_mask_ngrams_can_be_undone_and_leaves_its_argument():
    """Writing the originals back at the chosen positions gives the row; unused slots hold zeros."""
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


def test_mask_ngrams_takes_words_whole_and_specials_never():
    """The chosen positions are a union of words, however words and specials lie."""
    rng = np.random.default_rng(1)
    for _ in range(150):
        row = _row(rng, 100, start_share=rng.uniform(0.2, 1), special_every=int(rng.integers(2, 40)))
        chosen = set(_chosen(_mask(row, rng, max_predictions=15)).tolist())
        words = [set(word) for word in _words(*row[1:])]
        assert chosen == set().union(*(word for word in words if word & chosen))
        assert len(chosen) <= 15


def test_mask_ngrams_reaches_pieces_cut_off_from_their_word():
    """Truncation may leave a segment beginning inside a word: what is left of it is a word after the special."""
    candidate = np.array([False, True, True, False, True, False])
    row = np.arange(10, 16, dtype=np.int32), np.zeros(6, bool), candidate
    masked = _mask(row, np.random.default_rng(0), max_predictions=6, masked_fraction=1.0)
    np.testing.assert_array_equal(_chosen(masked), [1, 2, 4])


def test_mask_ngrams_skips_words_beyond_the_budget():
    """Words of four tokens do not fit a budget of three: nothing is chosen, though one token was wanted at least."""
    ids, _, candidate = _row(np.random.default_rng(0), 20)
    starts = np.arange(20) % 4 == 0
    masked = _mask((ids, starts, candidate), np.random.default_rng(0), max_predictions=3)
    assert masked.weights.sum() == 0
    np.testing.assert_array_equal(masked.input_ids, ids)


def test_mask_ngrams_decides_each_token_by_80_10_10():
    """Counts of [MASK], same and random within 4.5 standard deviations, also for the second token of a pair.

    A token drawn at random is by chance the mask or the original in 1 of 1000 cases each. That the shares are right
    given that the token before was kept shows that tokens of one n-gram do not share their draw.
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


def test_mask_ngrams_draws_lengths_six_to_three_to_two():
    """With three tokens to choose among 5000, the runs tell which lengths were drawn, worked out by hand.

    First length 3: one run of 3, 2/11. First 2: then any length shrinks to 1: runs 2+1, 3/11. First 1: a second of 2
    or 3 shrinks to 2: 6/11 * 5/11 more of 2+1; else 1+1+1, (6/11)^2. Runs touch by chance in under 1 of 500 rows.
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


def test_mask_ngrams_renormalizes_before_a_special_and_never_crosses_it():
    """Two words, a special, two words, two tokens to choose: P(both on one side) = 4/9.

    The first pick is the first word of a side with 1/2: then both are taken with p(2) = 1/3 (of lengths 1 and 2, 2:1),
    else the neighbor comes next with 1/3: 5/9. Or the second word of a side: then the neighbor with 1/3. Half of each
    is 4/9. Without renormalizing p(2 or more) would be 5/11, and the sum 0.485: 6 standard deviations away.
    """
    rng = np.random.default_rng(4)
    candidate = np.array([True, True, False, True, True])
    row = np.arange(10, 15, dtype=np.int32), np.ones(5, bool), candidate
    trials = 6000
    together = sum(
        tuple(_chosen(_mask(row, rng, max_predictions=2, masked_fraction=1.0))) in {(0, 1), (3, 4)}
        for _ in range(trials)
    )
    assert abs(together - trials * 4 / 9) < 4.5 * np.sqrt(trials * 20 / 81)


def _plain_port(words, budget, max_ngram, rng):
    """The algorithm as a person reads it in the reference code, word by word, without specials."""
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
    """Run lengths and numbers chosen, on words of 1 to 3 tokens, are distributed as in a direct port (chi-squared)."""
    rng = np.random.default_rng(5)
    candidate = np.ones(60, bool)
    starts = np.array([True, True, False, True, False, False] * 10)
    row = rng.integers(5, VOCAB, 60).astype(np.int32), starts, candidate
    words = _words(starts, candidate)
    ours, theirs = Counter(), Counter()
    for _ in range(2500):
        for counts, chosen in (
            (ours, _chosen(_mask(row, rng, max_predictions=20))),
            (theirs, np.array(_plain_port(words, 9, 3, rng))),
        ):
            runs = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1)
            counts.update(("run", len(run)) for run in runs)
            counts["total", len(chosen)] += 1
            counts["first token", int(chosen[0]) // 6] += 1
    common = [key for key in ours | theirs if ours[key] + theirs[key] > 50]
    assert len(common) > 10
    distance = sum((ours[key] - theirs[key]) ** 2 / (ours[key] + theirs[key]) for key in common)
    # Runs of one row depend on one another, so the sum is only roughly chi-squared; it is near len(common) when equal.
    assert distance < 2.5 * len(common), (distance, len(common))


def test_mask_ngrams_of_single_tokens_is_berts_masking():
    """Every candidate is equally likely, neighbors included, whatever the words: counts and pairs within 4.5 sigma."""
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
    # 37 neighboring pairs, both chosen with 6/38 * 5/37 each.
    assert abs(adjacent / trials - 37 * 6 / 38 * 5 / 37) < 4.5 / np.sqrt(trials)


def test_mask_ngrams_repeats_with_its_generator():
    row = _row(np.random.default_rng(0), 200, start_share=0.7)
    first, second, third = (_mask(row, np.random.default_rng(seed), max_predictions=30) for seed in (7, 7, 8))
    for ours, again in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, again)
    assert (first.positions != third.positions).any()


@pytest.mark.parametrize("length", range(1, 8))
def test_mask_ngrams_handles_rows_shorter_than_an_ngram(length):
    rng = np.random.default_rng(0)
    masked = _mask(_row(rng, length), rng, max_predictions=8, max_ngram=10, masked_fraction=1.0)
    np.testing.assert_array_equal(_chosen(masked), np.arange(length))


def test_mask_ngrams_without_candidates_or_share_changes_nothing():
    rng = np.random.default_rng(0)
    ids, starts, candidate = _row(rng, 10)
    for row, fraction in (((ids, starts, np.zeros(10, bool)), 0.15), ((ids, starts, candidate), 0.0)):
        masked = _mask(row, rng, max_predictions=4, masked_fraction=fraction)
        np.testing.assert_array_equal(masked.input_ids, ids)
        assert not masked.weights.any()


@pytest.mark.parametrize("options", [{"max_predictions": 0}, {"max_ngram": 0}, {"masked_fraction": 1.5}])
def test_mask_ngrams_refuses_impossible_numbers(options):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=f"{next(iter(options))}={next(iter(options.values()))}"):
        _mask(_row(rng, 10), rng, **({"max_predictions": 4} | options))
