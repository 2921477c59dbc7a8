"""Random data for a plan, with the vocabulary size and row shapes of the run.

A step's cost depends on nothing else, and the run's corpus may take hours to tokenize.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flax_lite.tokenization import Tokenizer, load_tokenizer
from train.data.pretraining.dataset import PreparedData
from train.data.sources import Corpus, CorpusOptions
from train.data.tokenizers import load_requested, requested_tokenizer
from train.data.tokens.store import TokenStore
from train.data.vocabulary import check_vocabularies
from train.errors import UserError

_DOCUMENTS, _SENTENCES = 64, 8
_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def prepare(values: Mapping[str, Any], kept_tokenizer: Path, log: Callable[[str], None]) -> PreparedData:
    """Replaces `train.data.pretraining.dataset.prepare` without reading the corpus.

    A tokenizer that has yet to be trained is assumed to get its full size, and a trimmed vocabulary to keep all
    entries.

    Raises:
        UserError: the tokenizer cannot be read, or is not that of a model that the options name.
    """
    if values.get("trim_vocabulary"):
        log("trim_vocabulary: planned with the whole vocabulary; what the text uses is known only when it is tokenized")
    tokenizer = _tokenizer(values, kept_tokenizer, log)
    store = _random_store(tokenizer, values["data.sequence_length"])
    corpus = Corpus("random tokens", {}, (), lambda: iter(()))
    return PreparedData(CorpusOptions(source="random"), tokenizer, store, store, corpus)


def _tokenizer(values: Mapping[str, Any], kept: Path, log: Callable[[str], None]) -> Tokenizer:
    wanted = requested_tokenizer(values)
    try:
        tokenizer = load_requested(wanted, kept)
    except (ValueError, OSError) as error:
        raise UserError(f"{wanted.name}: {error}") from error
    if not isinstance(tokenizer, Tokenizer):
        return _placeholder_tokenizer(tokenizer.vocab_size)
    check_vocabularies(values, tokenizer, wanted.name, log)
    return tokenizer


def _placeholder_tokenizer(vocab_size: int) -> Tokenizer:
    pieces = [*_SPECIALS, *(f"piece{number}" for number in range(len(_SPECIALS), vocab_size))]
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
        return load_tokenizer(directory)


def _random_store(tokenizer: Tokenizer, length: int) -> Any:
    """Returns a `TokenStore` in memory, without files, whose documents are long enough to fill rows."""
    sentences, tokens = _DOCUMENTS * _SENTENCES, max(8, length // 4)
    ordinary = np.setdiff1d(np.arange(tokenizer.vocab_size), list(tokenizer.special_ids))
    ids = np.random.default_rng(0).choice(ordinary, sentences * tokens).astype(np.int32)
    counts = {"documents": _DOCUMENTS, "sentences": sentences, "tokens": len(ids)}
    return TokenStore(
        Path(),
        tokenizer.vocab_size,
        {"counts": counts, "key": "random"},
        ids,  # type: ignore[arg-type]
        np.arange(0, len(ids) + 1, tokens),
        np.arange(0, sentences + 1, _SENTENCES),
        np.maximum(1, np.bincount(ids, minlength=tokenizer.vocab_size)),
    )
