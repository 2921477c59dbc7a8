"""Real text with a real vocabulary: the statistics of the masks and pairs, and constant memory over epochs."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from flax_lite.rows.pairs import PairRecipe, plan_pairs
from flax_lite.rows.recipe import PretrainingRecipe
from tests.flax_lite.rows.masking_test import _plain_port
from train.data.pretraining.rows import make_rows
from train.data.pretraining.statistics import prediction_mask, unmasked_ids


def test_ngrams_of_novels_have_the_distribution_of_the_reference(novel_pieces):
    """The lengths of runs of masked words and the numbers of masked tokens have the same distribution as with a plain
    port of google-research/albert's algorithm on the same rows (chi-squared). It draws lengths 6:3:2."""
    store, tokenizer = novel_pieces
    recipe = PretrainingRecipe(rows="packed", max_length=128, max_predictions=20)
    batch = make_rows(store, tokenizer, recipe, seed=0).batch(range(3000))
    ids, chosen = unmasked_ids(batch), prediction_mask(batch)
    rng = np.random.default_rng(0)
    found, reference = Counter(), Counter()
    for row in np.flatnonzero(batch["segment_ids"].max(axis=1) == 1):
        length = int(batch["attention_mask"][row].sum())
        text = ids[row, 1 : length - 1]
        if not tokenizer.is_maskable[text].all():
            continue  # the port does not handle unknown tokens
        starts = tokenizer.starts_word[text]
        starts[0] = True
        word_of = np.cumsum(starts) - 1
        words = [positions.tolist() for positions in np.split(np.arange(len(text)), np.flatnonzero(starts)[1:])]
        budget = max(1, round(0.15 * length))
        for counts, positions in (
            (found, np.flatnonzero(chosen[row, 1 : length - 1])),
            (reference, np.array(_plain_port(words, budget, 3, rng))),
        ):
            runs = np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1)
            counts.update(("words", len(set(word_of[run].tolist()))) for run in runs)
            counts["tokens", len(positions)] += 1
    assert found["words", 1] > 10_000
    common = [key for key in found | reference if found[key] + reference[key] > 50]
    distance = sum((found[key] - reference[key]) ** 2 / (found[key] + reference[key]) for key in common)
    # Runs within a row are dependent, so the sum is only roughly chi-squared; it is near len(common) if equal.
    assert distance < 2.5 * len(common), (distance, found, reference)


def test_a_tenth_of_the_passes_over_novels_is_short(novel_pieces):
    """A pass with the full target length fills every pair but the last one of a document. A pass with a shorter target
    does not, unless its last sentence happens to reach the full length. Targets are uniform, so the probability of that
    is at most the share of targets within two sentences (of the 99th percentile of lengths) of the full length."""
    store, _ = novel_pieces
    room = 509
    passes = short = 0
    for epoch in range(40):
        offsets = store.sentence_offsets, store.document_offsets
        plan = plan_pairs(*offsets, PairRecipe(room, short_seq_prob=0.1), seed=0, epoch=epoch)
        document, other = (
            np.searchsorted(store.sentence_offsets[store.document_offsets], plan.first[:, side], side="right")
            for side in (0, 1)
        )
        end = (plan.first + plan.length).max(axis=1)
        own = document == other
        last = np.zeros(int(document.max()) + 1, np.int64)
        np.maximum.at(last, document[own], end[own])
        whole = own & (end < last[document])
        unfilled = whole & (plan.length.sum(axis=1) < room)
        passes += len(set(document[whole].tolist()))
        short += len(set(document[unfilled].tolist()))
    longest = np.quantile(np.diff(store.sentence_offsets), 0.99)
    slack = 4.5 * np.sqrt(passes * 0.1 * 0.9)
    assert passes > 2000
    assert 0.1 * (1 - 2 * longest / room) * passes - slack < short < 0.1 * passes + slack, (short, passes)


# Prints anonymous memory in MB at fifths of four epochs.
_EPOCH = """
import re, sys
from flax_lite.tokenization import load_tokenizer
from train.data.pretraining.loader import train_batches
from train.data.tokens.preparation import build_store
from flax_lite.rows.recipe import PretrainingRecipe, TokenizerInfo
from train.data.pretraining.rows import make_rows
from train.data.sources import CorpusOptions, open_corpus

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

if __name__ == "__main__":
    source, vocabulary, kind, cache = sys.argv[1:]
    tokenizer = load_tokenizer(vocabulary)
    corpus = open_corpus(CorpusOptions(source=source), "train")
    store = build_store(corpus, tokenizer, cache_dir=cache)
    recipe = PretrainingRecipe(
        rows=kind, max_length=512, max_predictions=77, max_ngram=3 if kind == "pairs" else 1, whole_word=kind == "pairs"
    )
    rows = make_rows(store, TokenizerInfo.of(tokenizer), recipe, seed=0)
    steps = rows.epoch_size(0) // 64
    with train_batches(rows, 64) as batches:
        for step in range(4 * steps):
            next(batches)
            if step % (steps // 5) == steps // 10:
                print(round(anonymous(), 1), flush=True)
"""


@pytest.mark.slow  # four epochs of seventy megabytes of text, minutes each
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["pairs", "packed"])
def test_memory_is_flat_over_epochs_of_novels(kind, shared_data, repository, tmp_path):
    """From the middle of the second epoch on, two plans are in memory, and nothing of earlier epochs is. The tolerance
    of 10 MB is for temporary arrays while a plan is computed (5 MB over 14 epochs); the tokens of an epoch would take
    36 MB if they stayed in memory."""
    script = tmp_path / "epoch.py"
    script.write_text(_EPOCH)
    novels = f"text:{shared_data}/pretrain/novels/*.txt"
    vocabulary = str(shared_data / "tokenizers" / "albert" / "spiece.model")
    done = subprocess.run(
        [sys.executable, str(script), novels, vocabulary, kind, str(tmp_path / "cache")],
        cwd=repository,
        env={"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=True,
    )
    megabytes = list(map(float, done.stdout.split()))
    assert len(megabytes) >= 20
    settled = megabytes[8:]
    assert max(settled) < settled[0] + 10, megabytes
