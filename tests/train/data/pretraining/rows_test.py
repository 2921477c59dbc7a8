"""Pretraining rows: their contents, their independence of the reading order, and their statistics."""

import copy
import dataclasses
import itertools
import threading

import numpy as np
import pytest

from flax_lite.rows.recipe import PretrainingRecipe
from train.data.pretraining.rows import PairRows, held_out_rows, make_rows
from train.data.pretraining.statistics import unmasked_ids
from train.data.sources import CorpusOptions, open_corpus
from train.data.tokens.preparation import build_store

RECIPE = PretrainingRecipe(max_length=64, max_predictions=10)
FIELDS = {
    "input_ids": (np.int32, 64),
    "attention_mask": (np.int32, 64),
    "token_type_ids": (np.int32, 64),
    "masked_positions": (np.int32, 10),
    "masked_ids": (np.int32, 10),
    "masked_weights": (np.float32, 10),
    "sentence_label": (np.int32, None),
}


@pytest.fixture(scope="module")
def rows(store, tokenizer_info):
    return PairRows(store, tokenizer_info, RECIPE, seed=0)


def _equal(row, other):
    return row.keys() == other.keys() and all((row[name] == other[name]).all() for name in row)


def _within(count, share, total, sigmas=4.5):
    return abs(count - share * total) <= sigmas * np.sqrt(share * (1 - share) * total)


def test_row_has_fixed_shapes(rows):
    for number in (0, 1, 10**6):
        row = rows[number]
        assert {name: (array.dtype.type, *(array.shape or (None,))) for name, array in row.items()} == FIELDS
    batch = rows.batch([3, 1])
    assert {name: array.shape[0] for name, array in batch.items()} == dict.fromkeys(FIELDS, 2)
    for slot, number in enumerate((3, 1)):
        assert _equal({name: array[slot] for name, array in batch.items()}, rows[number])


def test_row_is_cls_a_sep_b_sep_and_padding(rows, tokenizer):
    batch = rows.batch(range(500))
    ids = unmasked_ids(batch)
    lengths = batch["attention_mask"].sum(axis=1)
    assert lengths.max() == 64
    assert lengths.min() < 30
    for row, mask, types, length in zip(ids, batch["attention_mask"], batch["token_type_ids"], lengths, strict=True):
        np.testing.assert_array_equal(mask, np.arange(64) < length)
        first, second = np.flatnonzero(row == tokenizer.sep_id)
        assert row[0] == tokenizer.cls_id
        assert second == length - 1
        assert 1 < first < second - 1
        np.testing.assert_array_equal(types, (np.arange(64) > first) & (np.arange(64) < length))
        assert (row[length:] == tokenizer.pad_id).all()


def test_unmasked_rows_are_source_text(rows, documents, tokenizer):
    """Without masks, each segment occurs in a document of the source. With label 0, the second segment follows the
    first, up to the tokens that truncation removed between them. A token is represented by one letter."""
    texts = ["".join(map(chr, itertools.chain(*tokenizer.encode(document)))) for document in documents]
    batch = rows.batch(range(300))
    for row, types, mask, label in zip(
        unmasked_ids(batch), batch["token_type_ids"], batch["attention_mask"], batch["sentence_label"], strict=True
    ):
        a = "".join(map(chr, row[(types == 0) & (mask == 1)][1:-1]))
        b = "".join(map(chr, row[types == 1][:-1]))
        homes = [text for text in texts if a in text]
        assert homes
        assert any(b in text for text in texts)
        if label == 0:
            assert any(b in text[text.index(a) + len(a) :] for text in homes)


def test_rows_are_the_same_in_any_order_and_any_copy(store, tokenizer_info, rows):
    """A new object that is read backwards and across epochs, as by a resumed run or another worker, is the same."""
    numbers = [0, 5, rows.epoch_size(0) - 1, rows.epoch_size(0), rows.epoch_size(0) + rows.epoch_size(1) + 3]
    expected = [rows[number] for number in numbers]
    fresh = PairRows(store, tokenizer_info, RECIPE, seed=0)
    for number, row in zip(reversed(numbers), reversed(expected), strict=True):
        assert _equal(fresh[number], row)
    sent = copy.deepcopy(rows)
    assert sent.store.ids is not rows.store.ids
    assert _equal(sent[numbers[-1]], expected[-1])
    assert not _equal(PairRows(store, tokenizer_info, RECIPE, seed=1)[0], expected[0])


def test_rows_of_every_epoch_follow_one_another(rows):
    number = 0
    for epoch in range(5):
        size = rows.epoch_size(epoch)
        assert rows.locate(number) == (epoch, 0)
        assert rows.locate(number + size - 1) == (epoch, size - 1)
        number += size
    assert rows.locate(number) == (5, 0)
    assert len({rows.epoch_size(epoch) for epoch in range(5)}) > 1


def test_rows_keep_few_plans(store, tokenizer_info, rows):
    """A long run does not keep earlier plans; returning to an epoch computes the same plan again."""
    fresh = PairRows(store, tokenizer_info, RECIPE, seed=0)
    start = 0
    for epoch in range(5):
        fresh[start]
        start += fresh.epoch_size(epoch)
    assert len(fresh._plans) == 2
    assert _equal(fresh[0], rows[0])


@pytest.mark.parametrize("kind", ["pairs", "packed"])
def test_next_plan_is_made_before_it_is_needed(store, tokenizer_info, kind, monkeypatch):
    """The next plan is computed in another thread after half an epoch; at the end of the epoch nothing is computed.
    Rows that end after one epoch compute no other plan."""
    recipe = dataclasses.replace(RECIPE, rows=kind)
    fresh = make_rows(store, tokenizer_info, recipe, seed=0)
    size, expected = fresh.epoch_size(0), make_rows(store, tokenizer_info, recipe, seed=0)
    made = []
    make_plan = type(fresh)._make_plan

    def watched(self, epoch):
        made.append((epoch, threading.current_thread() is threading.main_thread()))
        return make_plan(self, epoch)

    monkeypatch.setattr(type(fresh), "_make_plan", watched)
    fresh = make_rows(store, tokenizer_info, recipe, seed=0)
    fresh.batch(range(size // 2 - 3))
    assert made == [(0, True)]
    fresh.batch(range(size // 2 - 3, size))
    assert 1 in fresh._plans
    fresh._plans.get(1)
    assert made == [(0, True), (1, False)]
    monkeypatch.setattr(type(fresh), "_count", None)
    row = fresh[size + 5]
    monkeypatch.undo()
    assert _equal(row, expected[size + 5])
    held_out = held_out_rows(store, tokenizer_info, recipe, num_rows=size)
    held_out.batch(range(len(held_out)))
    assert len(held_out._plans) == 1


def test_pairs_are_fresh_every_epoch(rows):
    """Documents are split at other positions, so few rows of the first epoch recur in the second with the same text.
    (Documents of two or three sentences allow few splits.)"""
    size = rows.epoch_size(0)
    epochs = [
        unmasked_ids(rows.batch(range(start, start + rows.epoch_size(epoch)))) for epoch, start in ((0, 0), (1, size))
    ]
    texts = [set(map(tuple, ids.tolist())) for ids in epochs]
    assert len(texts[0] & texts[1]) < 0.3 * size


def test_masks_are_fresh_every_epoch_and_every_row(tmp_path, tokenizer_info, tokenizer):
    """Documents of two sentences yield the same pairs in every epoch, so that masks of the same text can be compared:
    they differ between epochs (two are equal with probability below 1/1000 for 3 of 20 tokens) and within an epoch."""
    path = tmp_path / "a.txt"
    text = "one two three four five six seven eight nine ten\nred green blue black white grey pink brown gold silver"
    path.write_text("\n\n".join([text] * 200))
    store = build_store(
        open_corpus(CorpusOptions(source=f"text:{path}"), "train"), tokenizer, cache_dir=tmp_path, log=lambda line: None
    )
    recipe = PretrainingRecipe(max_length=64, max_predictions=10, short_seq_prob=0.0)
    rows = PairRows(store, tokenizer_info, recipe, seed=0)
    assert rows.epoch_size(0) == rows.epoch_size(1) == 200
    first, second = rows.batch(range(200)), rows.batch(range(200, 400))
    both = np.concatenate([unmasked_ids(first), unmasked_ids(second)])
    assert len({tuple(row) for row in both.tolist()}) == 2  # swapped
    other_seed = PairRows(store, tokenizer_info, recipe, seed=1).batch(range(200))
    for other in (second, other_seed):
        assert (first["masked_positions"] == other["masked_positions"]).all(axis=1).mean() < 0.05
    assert _repeats(first).mean() < 0.05


def _repeats(batch):
    _, counts = np.unique(batch["masked_positions"], axis=0, return_counts=True)
    return np.repeat(counts > 2, counts)


@pytest.fixture(scope="module")
def novels(shared_data, tokenizer, tmp_path_factory):
    source = f"text:{shared_data}/pretrain/novels/Cbronte_V*.txt"
    corpus = open_corpus(CorpusOptions(source=source), "train")
    return build_store(corpus, tokenizer, cache_dir=tmp_path_factory.mktemp("novels"), log=lambda line: None)


@pytest.mark.parametrize("source", ["store", "novels"])
def test_rows_have_the_statistics_of_the_recipe(source, request, tokenizer_info, tokenizer):
    """On random and on real text, up to chance: 15% of the tokens of each row are masked, minus what whole words do not
    fill; replaced 80/10/10; sentence labels are balanced if both segments are of one chunk, and 1 otherwise."""
    store = request.getfixturevalue(source)
    recipe = dataclasses.replace(RECIPE, max_predictions=64)
    rows = PairRows(store, tokenizer_info, recipe, seed=3)
    batch = rows.batch(range(min(3000, rows.epoch_size(0))))
    lengths, chosen = batch["attention_mask"].sum(axis=1), batch["masked_weights"].sum(axis=1)
    wanted = np.maximum(1, np.round(0.15 * lengths))
    assert (chosen <= wanted).all()
    assert 0.98 < chosen.sum() / wanted.sum() <= 1
    assert 0.14 < chosen.sum() / lengths.sum() < 0.16

    used = batch["masked_weights"] > 0
    now = np.take_along_axis(batch["input_ids"], batch["masked_positions"], axis=1)[used]
    before = batch["masked_ids"][used]
    assert not np.isin(before, tokenizer.special_ids).any()
    for hits, share in (((now == tokenizer.mask_id), 0.8), ((now == before), 0.1)):
        assert _within(hits.sum(), share, len(now), sigmas=5)

    # Segments of one chunk are separated at most by what truncation removed, which is less than the longest sentence; a
    # random segment is that close by chance in at most 1 of 100 rows.
    plan = rows._plans.get(0)
    np.testing.assert_array_equal(batch["sentence_label"], plan.label[: len(lengths)])
    gap = plan.first.max(axis=1) - (plan.first + plan.length).min(axis=1)
    own = gap < np.diff(store.sentence_offsets).max()
    assert own.mean() > 0.7
    assert plan.label[~own].all()
    assert abs(plan.label[own].mean() - 0.5) < 4.5 / np.sqrt(4 * own.sum()) + 0.01


def test_whole_words_are_masked_whole(rows, tokenizer):
    """If a piece that continues a word is masked, so are its neighbors in the word."""
    batch = rows.batch(range(200))
    ids = unmasked_ids(batch)
    masked = np.zeros_like(ids, bool)
    for row, positions, weights in zip(masked, batch["masked_positions"], batch["masked_weights"], strict=True):
        row[positions[weights > 0]] = True
    continues = ~tokenizer.starts_word[ids] & (ids >= 5)
    inside = continues[:, 1:] & (ids[:, :-1] >= 5)
    assert inside.sum() > 1000
    np.testing.assert_array_equal(masked[:, 1:][inside], masked[:, :-1][inside])


def test_recipe_reaches_the_masks_and_the_pairs(store, tokenizer_info):
    """Each option has its effect: BERT's recipe masks single pieces and has random second segments in half the rows."""
    recipe = PretrainingRecipe(max_length=64, max_predictions=3, max_ngram=1, whole_word=False, pair_task="nsp")
    rows = PairRows(store, tokenizer_info, recipe, seed=0)
    batch = rows.batch(range(400))
    assert batch["masked_weights"].sum(axis=1).max() == 3
    ids = unmasked_ids(batch)
    masked_alone = 0
    for row, positions in zip(ids, batch["masked_positions"], strict=True):
        for position in positions.tolist():
            continues = ~tokenizer_info.starts_word[row[position]]
            masked_alone += continues and row[position - 1] >= 5 and position - 1 not in positions
    assert masked_alone > 100
    adjacent = {}
    for max_ngram in (1, 3):
        grams = dataclasses.replace(recipe, max_predictions=10, max_ngram=max_ngram)
        positions = PairRows(store, tokenizer_info, grams, seed=0).batch(range(400))["masked_positions"]
        adjacent[max_ngram] = (np.diff(positions, axis=1) == 1).sum()
    assert adjacent[3] > 2 * adjacent[1]  # about 36% against 15% of the masks have the next token masked as well
    none = PairRows(store, tokenizer_info, dataclasses.replace(recipe, masked_fraction=0.0), seed=0).batch([0])
    assert not none["masked_weights"].any()
    longer = PairRows(store, tokenizer_info, dataclasses.replace(recipe, short_seq_prob=0.0), seed=0)
    shorter = PairRows(store, tokenizer_info, dataclasses.replace(recipe, short_seq_prob=1.0), seed=0)
    assert shorter.epoch_size(0) > 1.3 * longer.epoch_size(0)


def test_unknown_tokens_are_never_targets(tmp_path, tokenizer, tokenizer_info):
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(["unknown word unknown\nword unknown word"] * 50))
    store = build_store(
        open_corpus(CorpusOptions(source=f"text:{path}"), "train"), tokenizer, cache_dir=tmp_path, log=lambda line: None
    )
    batch = PairRows(store, tokenizer_info, RECIPE, seed=0).batch(range(50))
    assert (batch["input_ids"] == tokenizer.unk_id).any()
    assert not (batch["masked_ids"][batch["masked_weights"] > 0] == tokenizer.unk_id).any()


def test_held_out_rows_are_fixed_and_few(store, tokenizer_info, rows):
    few, many = (held_out_rows(store, tokenizer_info, RECIPE, num_rows=number) for number in (20, 10**6))
    assert len(few) == 20
    assert len(many) == many.epoch_size(0)
    assert all(_equal(few[number], many[number]) for number in range(20))
    assert len(list(few)) == 20
    assert not _equal(few[0], rows[0])
    with pytest.raises(IndexError, match="row 20 is out of range: there are 20 rows"):
        few[20]
    with pytest.raises(IndexError, match="row -1 is out of range"):
        few[-1]


def test_rows_raise_for_another_vocabulary_or_invalid_numbers(store, tokenizer_info):
    with pytest.raises(ValueError, match="the corpus has 2000 ids, the tokenizer 7"):
        PairRows(store, dataclasses.replace(tokenizer_info, vocab_size=7), RECIPE, seed=0)
    with pytest.raises(ValueError, match="seed=-1"):
        PairRows(store, tokenizer_info, RECIPE, seed=-1)
    with pytest.raises(ValueError, match="num_rows=0"):
        held_out_rows(store, tokenizer_info, RECIPE, num_rows=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_length": 4}, "max_length=4"),
        ({"max_predictions": 0}, "max_length=64, got 0"),
        ({"max_predictions": 65}, "got 65"),
        ({"masked_fraction": 1.5}, "masked_fraction"),
        ({"max_ngram": 0}, "max_ngram"),
        ({"short_seq_prob": -0.1}, "short_seq_prob"),
        ({"pair_task": "none"}, "'none'"),
    ],
)
def test_recipe_raises_for_invalid_values(values, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **values)
