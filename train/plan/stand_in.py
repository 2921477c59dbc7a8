"""Data of the right shapes for a plan: random rows over as many pieces as the run's tokenizer has.

What a step takes depends on the vocabulary's size and the rows' shapes alone, and a run's own corpus may take hours to
tokenize.
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


def prepare(values: Mapping[str, Any], kept_tokenizer: Path, say: Callable[[str], None]) -> PreparedData:
    """What `train.data.pretraining.dataset.prepare` would give, without reading the corpus.

    A tokenizer that is yet to be trained is taken to get all the pieces that are asked for, and a trimmed vocabulary to
    keep all that there are.

    Raises:
        UserError: the tokenizer cannot be read, or is not that of a model that the options name.
    """
    if values.get("trim_vocabulary"):
        say("trim_vocabulary: planned for the whole vocabulary; what the text uses is known when it is tokenized")
    tokenizer = _tokenizer(values, kept_tokenizer, say)
    store = _random_store(tokenizer, values["data.sequence_length"])
    corpus = Corpus("random tokens", {}, (), lambda: iter(()))
    return PreparedData(CorpusOptions(source="random"), tokenizer, store, store, corpus)


def _tokenizer(values: Mapping[str, Any], kept: Path, say: Callable[[str], None]) -> Tokenizer:
    wanted = requested_tokenizer(values)
    try:
        tokenizer = load_requested(wanted, kept)
    except (ValueError, OSError) as error:
        raise UserError(f"{wanted.name}: {error}") from error
    if not isinstance(tokenizer, Tokenizer):
        return _invented(tokenizer.vocab_size)
    check_vocabularies(values, tokenizer, wanted.name, say)
    return tokenizer


def _invented(vocab_size: int) -> Tokenizer:
    pieces = [*_SPECIALS, *(f"piece{number}" for number in range(len(_SPECIALS), vocab_size))]
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
        return load_tokenizer(directory)


def _random_store(tokenizer: Tokenizer, length: int) -> Any:
    """Documents of sentences, long enough that rows are full. Held in memory: `TokenStore` in all but its files."""
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
