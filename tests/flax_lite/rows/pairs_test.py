"""Segment-pair plans: the text they cover, and the distribution of every random draw."""

from collections import Counter

import numpy as np
import pytest

from flax_lite.rows import pairs
from flax_lite.rows.pairs import PairRecipe, count_pairs, draw_targets, plan_pairs


def _offsets(documents):
    """Returns the offsets of documents given as lists of sentence lengths."""
    lengths = [length for document in documents for length in document]
    sizes = [len(document) for document in documents]
    return np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([[0], np.cumsum(sizes)])


def _random_documents(rng, count, longest=30, most_sentences=25):
    return [rng.integers(1, longest, rng.integers(1, most_sentences)).tolist() for _ in range(count)]


def _plan(documents, seed=0, epoch=0, **recipe):
    return plan_pairs(*_offsets(documents), PairRecipe(**recipe), seed=seed, epoch=epoch)


def _tokens(plan, rows, segment):
    """Returns the indices of all tokens in one segment of the given rows."""
    return np.concatenate(
        [
            np.arange(first, first + length)
            for first, length in zip(
                plan.first[rows, segment].tolist(), plan.length[rows, segment].tolist(), strict=True
            )
        ]
        or [np.zeros(0, int)]
    )


def _adjacent(plan):
    """Returns whether the segments of each pair are adjacent in order, and whether they are adjacent but swapped."""
    end = plan.first + plan.length
    return end[:, 0] == plan.first[:, 1], end[:, 1] == plan.first[:, 0]


def _within(count, share, total, sigmas=4.5):
    return abs(count - share * total) <= sigmas * np.sqrt(share * (1 - share) * total)


def test_plan_covers_every_sentence_once():
    """With sentences of one token nothing is truncated, so own text covers the corpus exactly once.

    Own text is both segments of adjacent pairs, and A of pairs whose B is from another document; these have label 1.
    """
    rng = np.random.default_rng(0)
    documents = [[1] * int(size) for size in rng.integers(1, 60, 300)]
    plan = _plan(documents, max_tokens=20)
    in_order, swapped = _adjacent(plan)
    own = in_order | swapped
    seen = np.concatenate([_tokens(plan, own, 0), _tokens(plan, own, 1), _tokens(plan, ~own, 0)])
    total = sum(map(len, documents))
    # A random B is adjacent to its A by chance in a few pairs at most; nothing else may be missing or repeated.
    counts = np.bincount(seen, minlength=total)
    assert (counts >= 1).all()
    assert (counts > 1).sum() <= 5
    assert (plan.label[~own] == 1).all()
    assert 0 < (~own).sum() < len(plan.label) / 2


def test_plan_reuses_the_sentences_of_a_replaced_segment():
    """The sentences of a replaced B start the next chunk, so own text still covers every token exactly once."""
    documents = [[1] * 50 for _ in range(300)]
    plan = _plan(documents, max_tokens=20, task="nsp", short_seq_prob=0.0)
    own = plan.label == 0
    seen = np.concatenate([_tokens(plan, own, 0), _tokens(plan, own, 1), _tokens(plan, ~own, 0)])
    np.testing.assert_array_equal(np.bincount(seen, minlength=300 * 50), 1)
    assert _adjacent(plan)[0][own].all()


@pytest.mark.parametrize("task", ["sop", "nsp"])
def test_plan_takes_random_segments_from_other_documents(task):
    documents = [[1] * int(size) for size in np.random.default_rng(0).integers(1, 40, 400)]
    token_offsets, document_offsets = _offsets(documents)
    plan = _plan(documents, max_tokens=15, task=task)
    home = np.searchsorted(token_offsets[document_offsets], plan.first, side="right")
    from_other = home[:, 0] != home[:, 1]
    if task == "nsp":
        np.testing.assert_array_equal(from_other, plan.label == 1)
    else:
        in_order, swapped = _adjacent(plan)
        np.testing.assert_array_equal(in_order & ~from_other, plan.label == 0)
        assert (from_other | swapped)[plan.label == 1].all()
    ends = np.searchsorted(token_offsets[document_offsets], plan.first + plan.length - 1, side="right")
    np.testing.assert_array_equal(ends, home)  # no segment crosses documents


def test_plan_draws_random_segments_uniformly_and_to_the_target_length():
    """Partner documents are uniform over all others, and their first sentence over the document (chi-squared).

    Their length is the remaining target length, if the document is long enough.
    """
    plans = [_plan([[1] * 20] * 101, epoch=epoch, max_tokens=10, task="nsp", short_seq_prob=0.0) for epoch in range(40)]
    first = np.concatenate([plan.first[plan.label == 1] for plan in plans])
    length = np.concatenate([plan.length[plan.label == 1] for plan in plans])
    shift = (first[:, 1] // 20 - first[:, 0] // 20) % 101
    counts = np.bincount(shift, minlength=101)
    assert counts[0] == 0
    assert ((counts[1:] - counts.sum() / 100) ** 2).sum() / (counts.sum() / 100) < 99 + 4.5 * np.sqrt(2 * 99)
    starts = np.bincount(first[:, 1] % 20, minlength=20)
    assert ((starts - starts.sum() / 20) ** 2).sum() / (starts.sum() / 20) < 19 + 4.5 * np.sqrt(2 * 19)
    np.testing.assert_array_equal(length[:, 1], np.minimum(np.maximum(10 - length[:, 0], 1), 20 - first[:, 1] % 20))


def test_plan_swaps_half_of_the_pairs(monkeypatch):
    """Half of the chunks with two or more sentences have label 1, and all other chunks."""
    documents = _random_documents(np.random.default_rng(1), 3000)
    plan = _plan(documents, max_tokens=61)
    both = np.logical_or(*_adjacent(_untruncated(documents, 61, monkeypatch)))
    assert both.sum() > 5000
    assert _within((plan.label == 1)[both].sum(), 0.5, both.sum())
    assert (plan.label[~both] == 1).all()


def _untruncated(documents, max_tokens, monkeypatch):
    """Returns the plan before truncation; its other draws are the same, because truncation draws last."""
    with monkeypatch.context() as patch:
        patch.setattr(pairs, "_truncate", lambda first, length, *_: (first, length))
        return _plan(documents, max_tokens=max_tokens)


def test_plan_replaces_half_of_the_next_sentences():
    """The first chunk of each document has all its 20 sentences; its B is replaced in half of the documents."""
    plan = _plan([[1] * 20] * 4000, max_tokens=20, task="nsp", short_seq_prob=0.0)
    opening = plan.first[:, 0] % 20 == 0
    assert opening.sum() == 4000
    assert _within(plan.label[opening].sum(), 0.5, 4000)


def test_plan_splits_chunks_uniformly():
    """In documents of five sentences that fill a pair, A has 1..4 of them, each with probability 1/4."""
    plan = _plan([[1] * 5] * 8000, max_tokens=5, short_seq_prob=0.0)
    assert len(plan.label) == 8000
    length_a = np.where(plan.label == 0, plan.length[:, 0], plan.length[:, 1])
    counts = np.bincount(length_a, minlength=5)
    assert counts[0] == 0
    for count in counts[1:]:
        assert _within(count, 0.25, 8000)


def test_plan_draws_one_target_length_per_document():
    """Every document has one target length, 10% of them short, and these uniform over 2..max.

    With sentences of one token every chunk except a document's last has exactly the target length, so it can be read
    off the plan.
    """
    plan = _plan([[1] * 60] * 5000, max_tokens=20, short_seq_prob=0.1)
    length = plan.length.sum(axis=1)
    begin = plan.first.min(axis=1)
    is_last = (plan.first + plan.length).max(axis=1) % 60 == 0
    whole = ~is_last & (plan.first[:, 0] // 60 == plan.first[:, 1] // 60)
    targets = {}
    for document, size in zip((begin // 60)[whole].tolist(), length[whole].tolist(), strict=True):
        assert targets.setdefault(document, size) == size
    assert len(targets) == 5000
    counts = Counter(targets.values())
    assert _within(5000 - counts[20], 0.1 * 18 / 19, 5000)
    for size in range(2, 20):
        assert _within(counts[size], 0.1 / 19, 5000), (size, counts)


def test_draw_targets_covers_the_whole_range():
    rng = np.random.default_rng(0)
    assert (draw_targets(rng, 1000, PairRecipe(50, short_seq_prob=0.0)) == 50).all()
    short = draw_targets(rng, 20_000, PairRecipe(50, short_seq_prob=1.0))
    assert (short.min(), short.max()) == (2, 50)
    assert abs(short.mean() - 26) < 4.5 * 14.2 / np.sqrt(20_000)


def _truncate_by_tokens(lengths, max_tokens):
    """The reference loop: removes one token at a time from the longer segment, or from the second if they are equal."""
    length_a, length_b = lengths
    while length_a + length_b > max_tokens:
        if length_a > length_b:
            length_a -= 1
        else:
            length_b -= 1
    return length_a, length_b


def test_truncate_equals_removing_single_tokens():
    lengths = np.array([(a, b) for a in range(1, 30) for b in range(1, 30)])
    for max_tokens in (2, 3, 10, 17, 40, 60):
        first, length = pairs._truncate(np.zeros_like(lengths), lengths, max_tokens, np.random.default_rng(0))
        np.testing.assert_array_equal(length, [_truncate_by_tokens(pair, max_tokens) for pair in lengths.tolist()])
        assert (length >= 1).all()
        assert (first >= 0).all()
        assert (first + length <= lengths).all()


def test_truncate_removes_from_front_and_back_with_equal_probability():
    """The number of tokens removed from the front is binomial(removed, 1/2): mean removed/2, variance removed/4."""
    count = 20_000
    lengths = np.tile([60, 20], (count, 1))
    first, _ = pairs._truncate(np.zeros_like(lengths), lengths, 40, np.random.default_rng(0))
    assert abs(first[:, 0].mean() - 20) < 4.5 * np.sqrt(10 / count)
    assert abs(first[:, 0].var() - 10) < 4.5 * 10 * np.sqrt(2 / count)
    assert not first[:, 1].any()


@pytest.mark.parametrize("task", ["sop", "nsp"])
def test_plan_fits_rows(task):
    plan = _plan(_random_documents(np.random.default_rng(2), 1000, longest=90), max_tokens=61, task=task)
    assert plan.length.min() >= 1
    assert plan.length.sum(axis=1).max() == 61
    assert set(plan.label.tolist()) == {0, 1}


@pytest.mark.parametrize("task", ["sop", "nsp"])
def test_plan_depends_only_on_seed_and_epoch(task):
    documents = _random_documents(np.random.default_rng(3), 200)
    plans = {key: _plan(documents, *key, max_tokens=61, task=task) for key in ((0, 0), (0, 1), (1, 0))}
    again = _plan(documents, 0, 1, max_tokens=61, task=task)
    for ours, repeated in zip(plans[0, 1], again, strict=True):
        np.testing.assert_array_equal(ours, repeated)
    starts = [set(map(tuple, plan.first.tolist())) for plan in plans.values()]
    for index, other in ((0, 1), (0, 2), (1, 2)):
        assert len(starts[index] & starts[other]) < len(starts[index]) / 2


def test_plan_shuffles_the_whole_corpus():
    """The order is a fresh permutation: its rank correlation with the order of the text is within 4.5/sqrt(rows)."""
    for epoch in range(3):
        first = _plan(_random_documents(np.random.default_rng(4), 2000), epoch=epoch, max_tokens=61).first[:, 0]
        correlation = np.corrcoef(np.arange(len(first)), first)[0, 1]
        assert abs(correlation) < 4.5 / np.sqrt(len(first))


@pytest.mark.parametrize("task", ["sop", "nsp"])
def test_count_pairs_counts_the_plan(task):
    documents = _random_documents(np.random.default_rng(5), 500)
    recipe = PairRecipe(61, task=task)
    sizes = set()
    for epoch in range(4):
        count = count_pairs(*_offsets(documents), recipe, seed=3, epoch=epoch)
        assert count == len(_plan(documents, 3, epoch, max_tokens=61, task=task).label)
        sizes.add(count)
    assert len(sizes) > 1  # target lengths are drawn in every epoch


def test_plan_in_blocks_covers_the_same_text(monkeypatch):
    """Blocks only bound memory: documents longer than a block, and blocks of many documents, are planned alike."""
    documents = [[1] * int(size) for size in np.random.default_rng(6).integers(1, 80, 200)]
    whole = _plan(documents, max_tokens=20, short_seq_prob=0.0)
    monkeypatch.setattr(pairs, "_SENTENCES_PER_BLOCK", 50)
    in_blocks = _plan(documents, max_tokens=20, short_seq_prob=0.0)
    # Without short target lengths, chunks start at the same sentences for any draws.
    assert len(whole.label) == len(in_blocks.label)
    total = sum(map(len, documents))
    for plan in (whole, in_blocks):
        own = np.logical_or(*_adjacent(plan))
        seen = np.concatenate([_tokens(plan, own, 0), _tokens(plan, own, 1), _tokens(plan, ~own, 0)])
        assert (np.bincount(seen, minlength=total) >= 1).all()


def test_plan_of_a_single_document_pairs_it_with_itself():
    plan = _plan([[200, 30, 30, 30]], max_tokens=61, short_seq_prob=0.0)
    assert plan.length.min() >= 1
    assert (plan.first + plan.length).max() <= 290


def test_plan_has_even_sop_labels_on_novels(shared_data, monkeypatch):
    """Real text split into sentences, lengths in words: half of the chunks with two or more sentences have label 1."""
    from train.data.sources import CorpusOptions, open_corpus

    files = shared_data / "pretrain" / "novels" / "Cbronte_[JV]*.txt"
    corpus = open_corpus(CorpusOptions(source=f"text:{files}"), "train")
    documents = [[len(sentence.split()) for sentence in document] for document in corpus.documents()]
    plan = _untruncated(documents, 61, monkeypatch)
    both = np.logical_or(*_adjacent(plan))
    assert both.sum() > 2000
    assert _within((plan.label == 1)[both].sum(), 0.5, both.sum())
    # Few chunks are a single sentence, because paragraphs are split into sentences.
    assert both.mean() > 0.8


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"max_tokens": 1}, "max_tokens=1"),
        ({"max_tokens": 9, "short_seq_prob": 2.0}, "got 2.0"),
        ({"max_tokens": 9, "task": "order"}, "'sop' or 'nsp', got 'order'"),
    ],
)
def test_recipe_refuses_invalid_values(recipe, message):
    with pytest.raises(ValueError, match=message):
        PairRecipe(**recipe)
