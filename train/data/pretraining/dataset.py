"""The data of a pretraining job: both splits tokenized, their rows, and reference values for the losses."""

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

# Number of rows that are searched for a masked position before a run; nearly always the first row has one.
_ROWS_CHECKED = 256


@dataclasses.dataclass(frozen=True)
class PretrainingData:
    """The rows of both splits and their properties.

    Attributes:
        tokenizer: the tokenizer of both splits.
        recipe: how rows are built.
        train: the training rows, an endless sequence.
        held_out: the held-out rows, the same at every evaluation.
        held_out_corpus: the text of the held-out split.
        unigram_entropy: entropy of the held-out tokens without special tokens, in nats: the loss of the best prediction
            that ignores the context.
        floor: a lower bound of the loss in nats per masked token; None if the source does not provide one.
        kept_ids: the original ids of a trimmed vocabulary; None if it was not trimmed.
        process_index: index of this host, which reads one part of each global batch.
        process_count: number of hosts.
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
        """Returns this host's part of the training batches from `start_step` on."""
        return train_batches(self.train, batch_size, start_step, workers=workers, **self._host)

    def eval_batches(self, batch_size: int) -> Iterator[Row]:
        """Returns this host's part of the held-out batches, with every row once."""
        return eval_batches(self.held_out, batch_size, **self._host)

    @property
    def _host(self) -> dict[str, int]:
        return {"process_index": self.process_index, "process_count": self.process_count}

    @functools.cached_property
    def majority_accuracy(self) -> float:
        """Accuracy of the majority label of the sentence task on the held-out rows.

        It is above one half, because a chunk of a single sentence gets a random second segment, which has label 1.
        """
        batches = eval_batches(self.held_out, 256)
        labels = np.concatenate([batch["sentence_label"][batch["row_weights"] > 0] for batch in batches])
        return float(max(np.mean(labels), 1 - np.mean(labels)))

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines the tokens of both splits."""
        return _hash(rows.store.fingerprint for rows in (self.train, self.held_out))

    def describe(self) -> list[str]:
        """Returns lines for the log about the data."""
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
        """Returns a note if all rows have the same label of the sentence task."""
        labels = self.train.sentence_labels(0)
        if labels is None or len(np.unique(labels)) > 1:
            return []
        reason = "every document has a single segment" if labels[0] else "there is a single document"
        rows = f"all {len(labels):,} rows of the first epoch have the sentence label {labels[0]}, because {reason}"
        cure = "In text files a blank line ends a document; data.rows=packed has no sentence task"
        return [f"note: {rows}: the sentence task has nothing to learn. {cure}"]

    def describe_references(self) -> str:
        """Returns the reference values for the masked-token loss as text."""
        text = f"unigram entropy {self.unigram_entropy:.3f} nats"
        if self.floor is None:
            return text
        return f"{text}, half of it {self.unigram_entropy / 2:.3f}, the grammar's floor {self.floor:.3f}"

    def references(self) -> dict[str, dict[str, float]]:
        """Returns the reference values as horizontal lines for the plots, by the plot's metric."""
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
        options: the options of the corpus.
        tokenizer: the tokenizer of both splits.
        train: the tokens of the training split.
        held_out: the tokens of the held-out split.
        held_out_corpus: the text of the held-out split.
        kept_ids: the original ids of a trimmed vocabulary; None if it was not trimmed.
    """

    options: CorpusOptions
    tokenizer: Tokenizer
    train: TokenStore
    held_out: TokenStore
    held_out_corpus: Corpus
    kept_ids: tuple[int, ...] | None = None


def prepare(values: Mapping[str, Any], kept_tokenizer: Path, log: Callable[[str], None]) -> PreparedData:
    """Loads or trains the tokenizer and tokenizes both splits, unless they are cached.

    Args:
        values: the options of the job.
        kept_tokenizer: the directory in which the job saves its tokenizer.
        log: receives progress lines.

    Raises:
        UserError: if a source or the tokenizer cannot be read, or a model of the options has another vocabulary.
    """
    data_options = schema.group(values, "data")
    options = CorpusOptions(**{name: data_options[name] for name in _CORPUS_OPTIONS})
    train, held_out = open_corpus(options, "train"), open_corpus(options, "heldout")
    cache_dir = data_options["cache_dir"]
    wanted = requested_tokenizer(values)
    # With a trimmed vocabulary, the saved tokenizer has only the kept ids, which are not those of the teacher.
    kept = None if values.get("trim_vocabulary") else kept_tokenizer
    tokenizer = open_tokenizer(wanted, train, kept, cache_dir=cache_dir, log=log)
    check_vocabularies(values, tokenizer, wanted.name, log)  # before tokenizing, which may take hours
    tokenize = functools.partial(build_store, cache_dir=cache_dir, log=log, workers=data_options["prepare_workers"])
    store, kept_ids = tokenize(train, tokenizer=tokenizer), None
    if values.get("trim_vocabulary"):
        kept_ids = seen_ids(store.token_counts, tokenizer.special_ids)
        log(f"vocabulary: {len(kept_ids):,} of {tokenizer.vocab_size:,} pieces are used by the training text and kept")
        tokenizer = trim_tokenizer(tokenizer, kept_ids)
        store = tokenize(train, tokenizer=tokenizer)
    return PreparedData(options, tokenizer, store, tokenize(held_out, tokenizer=tokenizer), held_out, kept_ids)


def fingerprints(values: Mapping[str, Any], kept_tokenizer: Path) -> dict[str, str]:
    """Returns the fingerprints of the data and the tokenizer of `open_data`, without tokenizing.

    Args:
        values: the options of the job.
        kept_tokenizer: the directory in which the job saves its tokenizer.

    Returns:
        The fingerprints "data" and "tokenizer"; empty if they are not known without tokenizing, because there is no
        saved tokenizer, the vocabulary is trimmed, or the text cannot be read.
    """
    if values.get("trim_vocabulary") or not kept_tokenizer.is_dir():
        return {}
    data_options = schema.group(values, "data")
    options = CorpusOptions(**{name: data_options[name] for name in _CORPUS_OPTIONS})
    try:
        found = load_requested(requested_tokenizer(values), kept_tokenizer)
        if not isinstance(found, Tokenizer):
            return {}
        corpora = [open_corpus(options, split) for split in ("train", "heldout")]
        keys = [store_key(corpus, found, data_options["cache_dir"]) for corpus in corpora]
    except (UserError, ValueError, OSError, ImportError):
        return {}
    return {"data": _hash(keys), "tokenizer": found.fingerprint}


def _hash(fingerprints: Iterable[str]) -> str:
    return hashlib.sha256("/".join(fingerprints).encode()).hexdigest()


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
    """Prepares the data that the options name, if needed, and builds its rows.

    Args:
        values: the options of the job.
        kept_tokenizer: the directory in which the job saves its tokenizer.
        log: receives progress lines.
        prepare: tokenizes both splits: `prepare` of this module, or a substitute.
        process_index: index of this host, which reads one part of each global batch.
        process_count: number of hosts. Each host prepares its own, identical copy of the data.

    Raises:
        UserError: if a source or the tokenizer cannot be read, or the options do not describe valid rows.
    """
    data_options = schema.group(values, "data")
    try:
        # A job without the option `rows` has no sentence task.
        settings: dict[str, Any] = {"rows": "packed"}
        settings |= {name: data_options[name] for name in _RECIPE_OPTIONS if name in data_options}
        recipe = PretrainingRecipe(max_length=data_options["sequence_length"], **settings)
    except ValueError as error:
        raise UserError(f"data: {error}") from error
    prepared = prepare(values, kept_tokenizer, log)
    info = TokenizerInfo.of(prepared.tokenizer)
    try:
        train = make_rows(prepared.train, info, recipe, seed=values["seed"])
        held_out = held_out_rows(prepared.held_out, info, recipe, num_rows=data_options["max_eval_rows"])
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
    """Checks that the text has known tokens, and that some of them can be masked if the recipe masks any.

    Raises:
        UserError: if it does not.
    """
    counts, recipe = rows.store.token_counts, rows.recipe
    check_known(unknown_share(counts, tokenizer), tokenizer, name)
    if not recipe.masked_fraction:
        return
    if recipe.masking == "batch":
        searched, has_masks = "all of it", bool(counts[rows.tokenizer.is_maskable].any())
    else:
        size = min(rows.epoch_size(0), len(rows), _ROWS_CHECKED)
        parts = (range(first, min(first + 16, size)) for first in range(0, size, 16))
        searched, has_masks = f"{size} rows", any(rows.batch(part)["masked_weights"].any() for part in parts)
    if not has_masks:
        raise UserError(
            f"the {name} has no token that can be masked ({searched} searched). Whole words are masked, with up to "
            f"data.max_predictions={recipe.max_predictions} tokens and data.masked_fraction="
            f"{recipe.masked_fraction:g} of a row. Give data.whole_word=false, larger values, or another tokenizer"
        )


def unigram_entropy(counts: np.ndarray) -> float:
    """Computes -sum p ln p of the relative frequencies, in nats.

    It is not `scipy.stats.entropy`, because importing scipy.stats adds more than a second to the start of every job.
    """
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _floor(options: CorpusOptions, recipe: PretrainingRecipe, store: TokenStore) -> float | None:
    """Converts the entropy floor of the built-in grammar from nats per word to nats per token."""
    held_out = options.eval_source or ("a mixture" if options.mixture else options.source)
    if held_out != "builtin":
        return None
    from train.data import builtin

    # An upper bound of the sentences in a row, since every word has at least one token.
    window = max(2, math.ceil((recipe.max_length - 3) / builtin.WORDS_PER_SENTENCE))
    per_word = builtin.entropy_floor(options.builtin_seed, "heldout", window=window)
    counts = store.counts
    return per_word * builtin.WORDS_PER_SENTENCE * counts["sentences"] / counts["tokens"]
