"""Data of the right shapes for a plan: random rows over as many pieces as the run's tokenizer has.

What a step takes depends on the vocabulary's size and the rows' shapes alone, and a run's own corpus may take hours to
tokenise.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flax_lite.tokenization import Tokenizer, load_tokenizer, parse_tokenizer_spec
from train.data import tokenizers
from train.data.pretraining.dataset import PreparedData
from train.data.sources import Corpus, CorpusOptions
from train.data.tokens.store import TokenStore
from train.errors import UserError

_DOCUMENTS, _SENTENCES = 64, 8
_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def prepare(values: Mapping[str, Any], kept_tokenizer: Path, say: Callable[[str], None]) -> PreparedData:
    """What `train.data.pretraining.dataset.prepare` would give, without reading the corpus.

    A tokenizer that is yet to be trained is taken to get all the pieces that are asked for, and a trimmed vocabulary to
    keep all that there are.

    Raises:
        UserError: the tokenizer cannot be read.
    """
    if values.get("trim_vocabulary"):
        say("trim_vocabulary: planned for the whole vocabulary; what the text uses is known when it is tokenised")
    tokenizer = _tokenizer(tokenizers.tokenizer_spec(values), kept_tokenizer)
    store = _random_store(tokenizer, values["data.sequence_length"])
    corpus = Corpus("random tokens", {}, (), lambda: iter(()))
    return PreparedData(CorpusOptions(source="random"), tokenizer, store, store, corpus)


def _tokenizer(spec: str, kept: Path) -> Tokenizer:
    try:
        training = parse_tokenizer_spec(spec)
        if training is None:
            return load_tokenizer(spec)
        return load_tokenizer(kept) if kept.is_dir() else _invented(training.vocab_size)
    except (ValueError, OSError) as error:
        raise UserError(f"tokenizer={spec}: {error}") from error


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
