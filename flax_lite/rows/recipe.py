"""The recipe of pretraining rows, and the token ids they need; both are small enough to send to worker processes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Bool

from flax_lite.rows.pairs import PairRecipe, PairTask

if TYPE_CHECKING:
    from flax_lite.tokenization import Tokenizer

RowKind = Literal["pairs", "packed"]
Masking = Literal["rows", "batch"]
Texts = Literal["documents", "sentences"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenizerInfo:
    """The ids that rows are made of, without the tokenizer itself.

    Attributes:
        vocab_size: V.
        pad_id: id of the padding token.
        cls_id: id of the first token of a row.
        sep_id: id of the token that ends a segment.
        mask_id: id of [MASK].
        is_maskable: whether an id may be masked; false for special tokens. Google's code also masks unknown tokens,
            from which there is nothing to learn.
        starts_word: whether a piece starts a word.
    """

    vocab_size: int
    pad_id: int
    cls_id: int
    sep_id: int
    mask_id: int
    is_maskable: Bool[np.ndarray, "V"]
    starts_word: Bool[np.ndarray, "V"]

    @classmethod
    def of(cls, tokenizer: "Tokenizer") -> "TokenizerInfo":
        """Returns the information of a tokenizer."""
        is_maskable = np.ones(tokenizer.vocab_size, np.bool_)
        is_maskable[list(tokenizer.special_ids)] = False
        return cls(
            vocab_size=tokenizer.vocab_size,
            pad_id=tokenizer.pad_id,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            mask_id=tokenizer.mask_id,
            is_maskable=is_maskable,
            starts_word=tokenizer.starts_word,
        )


@dataclass(frozen=True, kw_only=True)
class PretrainingRecipe:
    """How pretraining rows are made.

    Attributes:
        rows: "pairs" (segment pairs), or "packed" (single texts, several per row).
        texts: what is packed: "documents", split if they are longer than a row, or each of their "sentences".
        max_length: T, tokens of a row with special tokens and padding.
        max_predictions: P, the number of slots for masked positions. If it is below `masked_fraction` * T, long rows
            have a smaller fraction of masks (Google's 20 at T = 512 are 4%).
        masked_fraction: fraction of the tokens to mask.
        masking: "rows": each row is masked separately when it is made, by n-grams and whole words if configured;
            "batch": single tokens are drawn over the whole batch inside the step (DistilBERT).
        mask_smoothing: exponent s of p(token) proportional to count^-s; only for masking="batch".
        max_ngram: maximum number of words of an n-gram; 1 for BERT.
        whole_word: whether words are masked as a whole; False for the original BERT.
        short_seq_prob: probability that a document's pairs have a shorter target length.
        pair_task: "sop" (ALBERT) or "nsp" (BERT); only for rows="pairs".
    """

    rows: RowKind = "pairs"
    texts: Texts = "documents"
    max_length: int
    max_predictions: int
    masked_fraction: float = 0.15
    masking: Masking = "rows"
    mask_smoothing: float = 0.0
    max_ngram: int = 3
    whole_word: bool = True
    short_seq_prob: float = 0.1
    pair_task: PairTask = "sop"

    def __post_init__(self) -> None:
        if self.rows not in get_args(RowKind):
            raise ValueError(f"rows must be one of {', '.join(get_args(RowKind))}, got {self.rows!r}")
        if self.texts not in get_args(Texts):
            raise ValueError(f"texts must be one of {', '.join(get_args(Texts))}, got {self.texts!r}")
        if self.texts == "sentences" and self.rows == "pairs":
            raise ValueError("texts=sentences needs rows=packed: segment pairs are made of documents")
        if self.max_length < 5:
            raise ValueError(
                f"max_length must be at least 5, 3 special tokens and 2 other tokens, got max_length={self.max_length}"
            )
        if not 1 <= self.max_predictions <= self.max_length:
            raise ValueError(
                f"max_predictions must be from 1 to max_length={self.max_length}, got {self.max_predictions}"
            )
        if not 0.0 <= self.masked_fraction <= 1.0:
            raise ValueError(f"masked_fraction must be from 0 to 1, got {self.masked_fraction}")
        if self.max_ngram < 1:
            raise ValueError(f"max_ngram must be 1 or more, got {self.max_ngram}")
        self._check_masking()
        _ = self.pairs  # checks its fields

    def _check_masking(self) -> None:
        if self.masking not in get_args(Masking):
            raise ValueError(f"masking must be one of {', '.join(get_args(Masking))}, got {self.masking!r}")
        if self.masking == "batch" and (self.max_ngram > 1 or self.whole_word):
            raise ValueError(
                f"masking=batch draws single tokens, got max_ngram={self.max_ngram}, whole_word={self.whole_word}: "
                "give max_ngram=1 and whole_word=False, or masking=rows"
            )
        if self.masking == "rows" and self.mask_smoothing:
            raise ValueError(
                f"mask_smoothing={self.mask_smoothing} needs masking=batch: masking=rows draws all tokens with equal "
                "probability"
            )

    @property
    def pairs(self) -> PairRecipe:
        """The recipe of the segment pairs."""
        return PairRecipe(self.max_length - 3, self.short_seq_prob, self.pair_task)
