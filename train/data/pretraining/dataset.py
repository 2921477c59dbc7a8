"""A pretraining job's data: both splits tokenized, rows made of them, and the numbers that losses are held against."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flax_lite.distillation.vocabulary import seen_ids
from flax_lite.rows.recipe import PretrainingRecipe, TokenizerInfo
from flax_lite.tokenization import Tokenizer
from flax_lite.tokenization.trimming import trim_tokenizer
from train.data.pretraining.loader import eval_batches, train_batches
from train.data.pretraining.rows import PackedRows, PretrainingRows, Row, held_out_rows, make_rows
from train.data.sources import Corpus, CorpusOptions, open_corpus
from train.data.tokenizers import load_requested, open_tokenizer, requested_tokenizer
from train.data.tokens.preparation import build_store, store_key
from train.data.tokens.store import TokenStore
from train.data.unknown import check_known, describe_unknown, unknown_notes, unknown_share
from train.data.vocabulary import check_vocabularies
from train.errors import UserError
from train.options import schema

_RECIPE_OPTIONS = (
    "rows",
    "texts",
    "max_predictions",
    "masked_fraction",
    "masking",
    "mask_smoothing",
    "max_ngram",
    "whole_word",
    "short_seq_prob",
    "pair_task",
)


_CORPUS_OPTIONS = (
    "source",
    "eval_source",
    "eval_fraction",
    "mixture",
    "text_column",
    "tfds_dir",
    "builtin_documents",
    "split_paragraphs",
)


# Rows in which a mask is looked for before a run that would learn from masks: the first one nearly always has one.
_LOOKED_AT = 256


@dataclasses.dataclass(frozen=True)
class PretrainingData:
    """Rows of both splits and what is known of them.

    Attributes:
        tokenizer: of both.
        recipe: what a row is.
        train: the training rows, without end.
        held_out: the held-out rows, always the same.
        held_out_corpus: the text that these come from.
        unigram_entropy: of the held-out tokens, specials left out, in nats: the loss of the best guess without context.
        floor: nats per masked token that no model can go below, where the source knows it.
        kept_ids: what the ids were before the vocabulary was trimmed; None where it was not.
        process_index: which part of each global batch this host reads.
        process_count: the number of hosts.
    """

    tokenizer: Tokenizer
    recipe: PretrainingRecipe
    train: PretrainingRows
    held_out: PretrainingRows
    held_out_corpus: Corpus
    unigram_entropy: float
    floor: float | None
    kept_ids: tuple[int, ...] | None = None
    process_index: int = 0
    process_count: int = 1

    def train_batches(self, batch_size: int, start_step: int, *, workers: int) -> Iterator[Row]:
        """This host's part of the training batches after `start_step`."""
        return train_batches(self.train, batch_size, start_step, workers=workers, **self._host)

    def eval_batches(self, batch_size: int) -> Iterator[Row]:
        """This host's part of the held-out batches, each row once."""
        return eval_batches(self.held_out, batch_size, **self._host)

    @property
    def _host(self) -> dict[str, int]:
        return {"process_index": self.process_index, "process_count": self.process_count}

    @functools.cached_property
    def majority_accuracy(self) -> float:
        """Accuracy, on the held-out rows, of always giving the commoner answer to the sentence task.

        It is not one half: a chunk of a single sentence gets a random second segment, which is always label 1.
        """
        batches = eval_batches(self.held_out, 256)
        labels = np.concatenate([batch["sentence_label"][batch["row_weights"] > 0] for batch in batches])
        return float(max(np.mean(labels), 1 - np.mean(labels)))

    @property
    def fingerprint(self) -> str:
        """Names the tokenized text of both splits, by all that it was made from."""
        return _joined(rows.store.fingerprint for rows in (self.train, self.held_out))

    def describe(self) -> list[str]:
        """Lines about the data for a person."""
        lines, shares = [], {}
        for name, rows in (("training", self.train), ("held-out", self.held_out)):
            counts, share = rows.store.counts, unknown_share(rows.store.token_counts, self.tokenizer)
            shares[f"{name} text"] = share
            lines.append(
                f"{name} data: {counts['documents']:,} documents, {counts['sentences']:,} sentences, "
                f"{counts['tokens']:,} tokens, {describe_unknown(share)}"
            )
        rows = f"{self.train.epoch_size(0):,} per epoch of {self.recipe.max_length} tokens"
        if isinstance(self.train, PackedRows):
            rows += f", {self.train.padding_share:.1%} padding"
        return [*lines, f"rows: {rows}; {self.describe_references()}", *unknown_notes(shares), *self._constant_label()]

    def _constant_label(self) -> list[str]:
        """In a line, that the sentence task has one answer alone, if that is so."""
        labels = self.train.sentence_labels(0)
        if labels is None or len(np.unique(labels)) > 1:
            return []
        why = "a segment has no other of its document" if labels[0] else "there is no other document"
        rows = f"all {len(labels):,} rows of the first epoch have the sentence label {labels[0]}, for {why}"
        cure = "In text files a blank line ends a document; data.rows=packed has no such task"
        return [f"note: {rows}: the sentence task has nothing to learn. {cure}"]

    def describe_references(self) -> str:
        """What a masked-word loss compares with."""
        text = f"unigram entropy {self.unigram_entropy:.3f} nats"
        if self.floor is None:
            return text
        return f"{text}, half of it {self.unigram_entropy / 2:.3f}, the grammar's floor {self.floor:.3f}"

    def references(self) -> dict[str, dict[str, float]]:
        """The same as lines for the plots."""
        lines = {"unigram entropy": self.unigram_entropy}
        if self.floor is not None:
            lines |= {"half of it": self.unigram_entropy / 2, "grammar's floor": self.floor}
        if self.recipe.rows == "packed":
            return {"loss": lines}
        return {"loss": lines, "accuracy": {"commoner answer, sentences": self.majority_accuracy}}


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """Both splits as tokens on disk.

    Attributes:
        options: where the documents come from.
        tokenizer: of both.
        train: the training split.
        held_out: the held-out split.
        held_out_corpus: the text of the held-out split.
        kept_ids: what the ids were before the vocabulary was trimmed; None where it was not.
    """

    options: CorpusOptions
    tokenizer: Tokenizer
    train: TokenStore
    held_out: TokenStore
    held_out_corpus: Corpus
    kept_ids: tuple[int, ...] | None = None


def prepare(values: Mapping[str, Any], kept_tokenizer: Path, log: Callable[[str], None]) -> PreparedData:
    """Trains the tokenizer if one is asked for and tokenizes both splits, unless the cache has them.

    Args:
        values: the job's options.
        kept_tokenizer: where the job keeps its tokenizer.
        log: takes lines for a person.

    Raises:
        UserError: if a source or the tokenizer cannot be had, or a model that the options name has another vocabulary.
    """
    given = schema.group(values, "data")
    options = CorpusOptions(**{name: given[name] for name in _CORPUS_OPTIONS})
    train, held_out = open_corpus(options, "train"), open_corpus(options, "heldout")
    cache_dir = given["cache_dir"]
    wanted = requested_tokenizer(values)
    # What a job keeps of a vocabulary that it trims is the rest of it, whose ids are not the teacher's.
    kept = None if values.get("trim_vocabulary") else kept_tokenizer
    tokenizer = open_tokenizer(wanted, train, kept, cache_dir=cache_dir, log=log)
    check_vocabularies(values, tokenizer, wanted.name, log)  # before tokenizing, which may take hours
    tokenize = functools.partial(build_store, cache_dir=cache_dir, log=log, workers=given["prepare_workers"])
    store, kept_ids = tokenize(train, tokenizer=tokenizer), None
    if values.get("trim_vocabulary"):
        kept_ids = seen_ids(store.token_counts, tokenizer.special_ids)
        log(f"vocabulary: {len(kept_ids):,} of {tokenizer.vocab_size:,} pieces are used by the training text and kept")
        tokenizer = trim_tokenizer(tokenizer, kept_ids)
        store = tokenize(train, tokenizer=tokenizer)
    return PreparedData(options, tokenizer, store, tokenize(held_out, tokenizer=tokenizer), held_out, kept_ids)


def fingerprints(values: Mapping[str, Any], kept_tokenizer: Path) -> dict[str, str]:
    """What the data and the tokenizer of `open_data` would be called, without tokenizing.

    Args:
        values: the job's options.
        kept_tokenizer: where the job keeps its tokenizer.

    Returns:
        Nothing where that is not known before: the tokenizer is not there, the vocabulary would be trimmed, or the text
        cannot be read.
    """
    if values.get("trim_vocabulary") or not kept_tokenizer.is_dir():
        return {}
    given = schema.group(values, "data")
    options = CorpusOptions(**{name: given[name] for name in _CORPUS_OPTIONS})
    try:
        found = load_requested(requested_tokenizer(values), kept_tokenizer)
        if not isinstance(found, Tokenizer):
            return {}
        corpora = [open_corpus(options, split) for split in ("train", "heldout")]
        keys = [store_key(corpus, found, given["cache_dir"]) for corpus in corpora]
    except (UserError, ValueError, OSError, ImportError):
        return {}
    return {"data": _joined(keys), "tokenizer": found.fingerprint}


def _joined(names: Iterable[str]) -> str:
    return hashlib.sha256("/".join(names).encode()).hexdigest()


Prepare = Callable[[Mapping[str, Any], Path, Callable[[str], None]], PreparedData]


def open_data(
    values: Mapping[str, Any],
    kept_tokenizer: Path,
    log: Callable[[str], None],
    *,
    prepare: Prepare = prepare,
    process_index: int = 0,
    process_count: int = 1,
) -> PretrainingData:
    """Opens, and where needed prepares, what a job's options name, and makes rows of it.

    Args:
        values: the job's options.
        kept_tokenizer: where the job keeps its tokenizer.
        log: takes lines for a person.
        prepare: gives both splits as tokens: this module's, or a stand-in for it.
        process_index: which part of each global batch this host reads.
        process_count: the number of hosts. Each prepares its own copy of the data, the same on all.

    Raises:
        UserError: if a source, the tokenizer or the shape of the rows cannot be had.
    """
    given = schema.group(values, "data")
    try:
        # A job without the option `rows` has no sentence task.
        shape: dict[str, Any] = {"rows": "packed"} | {name: given[name] for name in _RECIPE_OPTIONS if name in given}
        recipe = PretrainingRecipe(max_length=given["sequence_length"], **shape)
    except ValueError as error:
        raise UserError(f"data: {error}") from error
    prepared = prepare(values, kept_tokenizer, log)
    info = TokenizerInfo.of(prepared.tokenizer)
    try:
        train = make_rows(prepared.train, info, recipe, seed=values["seed"])
        held_out = held_out_rows(prepared.held_out, info, recipe, num_rows=given["max_eval_rows"])
    except ValueError as error:
        raise UserError(f"data: {error}") from error
    for name, rows in (("training", train), ("held-out", held_out)):
        _check_learnable(rows, prepared.tokenizer, f"{name} text")
    return PretrainingData(
        prepared.tokenizer,
        recipe,
        train,
        held_out,
        prepared.held_out_corpus,
        unigram_entropy(prepared.held_out.token_counts),
        _floor(prepared.options, recipe, prepared.held_out),
        prepared.kept_ids,
        process_index,
        process_count,
    )


def _check_learnable(rows: PretrainingRows, tokenizer: Tokenizer, name: str) -> None:
    """Sees to it that something of a text can be masked, where anything is to be.

    Raises:
        UserError: naming the text.
    """
    counts, recipe = rows.store.token_counts, rows.recipe
    check_known(unknown_share(counts, tokenizer), tokenizer, name)
    if not recipe.masked_fraction:
        return
    if recipe.masking == "batch":
        seen, has_masks = "in it", bool(counts[rows.tokenizer.is_maskable].any())
    else:
        size = min(rows.epoch_size(0), len(rows), _LOOKED_AT)
        parts = (range(first, min(first + 16, size)) for first in range(0, size, 16))
        seen, has_masks = f"in {size} rows", any(rows.batch(part)["masked_weights"].any() for part in parts)
    if not has_masks:
        raise UserError(
            f"the {name} has nothing that can be masked ({seen}): words are hidden whole, up to "
            f"data.max_predictions={recipe.max_predictions} pieces and data.masked_fraction="
            f"{recipe.masked_fraction:g} of a row. Give data.whole_word=false, more of these, or another tokenizer"
        )


def unigram_entropy(counts: np.ndarray) -> float:
    """-sum p ln p of the relative frequencies, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _floor(options: CorpusOptions, recipe: PretrainingRecipe, store: TokenStore) -> float | None:
    """The built-in grammar's own floor, spread over the pieces that the tokenizer cuts its words into."""
    held_out = options.eval_source or ("a mixture" if options.mixture else options.source)
    if held_out != "builtin":
        return None
    from train.data import builtin

    # A row holds no more sentences than this, whatever their pieces: a word is a piece or more.
    window = max(2, math.ceil((recipe.max_length - 3) / builtin.WORDS_PER_SENTENCE))
    per_word = builtin.entropy_floor(options.builtin_seed, "heldout", window=window)
    counts = store.counts
    return per_word * builtin.WORDS_PER_SENTENCE * counts["sentences"] / counts["tokens"]
