"""Statistics of pretraining rows, accumulated batch by batch."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int

from flax_lite.rows.recipe import TokenizerInfo
from train.data.pretraining.rows import Row

# Runs of this many or more consecutive masked words are counted together. ALBERT masks n-grams of at most 3 words
# (Lan et al. 2020, section 4.1); longer runs are adjacent n-grams.
LONGEST_RUN = 4


@dataclasses.dataclass
class RowStatistics:
    """Counts over rows.

    Attributes:
        tokenizer: the tokenizer of the rows.
        row_lengths: number of rows of each length, including special tokens, [T + 1].
        masked: number of masked tokens by their replacement: "hidden" ([MASK]), "replaced" (a random token), "kept".
        masked_by_run: number of masked tokens in runs of 1, 2, 3, and 4 or more consecutive masked words.
        swapped: number of rows whose sentence label is 1.
        maskable: number of tokens that may be masked.
        slots: number of masked positions that the rows have space for.
    """

    tokenizer: TokenizerInfo
    row_lengths: Int[np.ndarray, "lengths"] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    masked: dict[str, int] = dataclasses.field(default_factory=lambda: {"hidden": 0, "replaced": 0, "kept": 0})
    masked_by_run: Int[np.ndarray, "runs"] = dataclasses.field(default_factory=lambda: np.zeros(LONGEST_RUN, np.int64))
    swapped: int = 0
    maskable: int = 0
    slots: int = 0

    def add(self, batch: Row) -> None:
        """Adds a batch [B, T]; every row counts, whatever its weight."""
        lengths = batch["attention_mask"].sum(axis=1)
        counted = np.bincount(lengths, minlength=batch["input_ids"].shape[1] + 1)
        self.row_lengths = counted + (self.row_lengths if len(self.row_lengths) else 0)
        self.swapped += int(batch["sentence_label"].sum()) if "sentence_label" in batch else 0
        self.slots += batch["masked_weights"].size
        original = unmasked_ids(batch)
        real = batch["attention_mask"] > 0
        self.maskable += int((self.tokenizer.is_maskable[original] & real).sum())
        chosen = prediction_mask(batch)
        found = batch["input_ids"]
        hidden, kept = found == self.tokenizer.mask_id, found == original
        self.masked["hidden"] += int((chosen & hidden).sum())
        self.masked["kept"] += int((chosen & kept).sum())
        self.masked["replaced"] += int((chosen & ~hidden & ~kept).sum())
        for row in range(len(original)):
            starts = self.tokenizer.starts_word[original[row]] | ~self.tokenizer.is_maskable[original[row]]
            self.masked_by_run += _tokens_by_run(chosen[row], starts)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.row_lengths.sum())

    @property
    def tokens(self) -> int:
        """Number of tokens, including special tokens, without padding."""
        return int((self.row_lengths * np.arange(len(self.row_lengths))).sum())

    @property
    def num_masked(self) -> int:
        """Number of masked tokens."""
        return sum(self.masked.values())

    def shares(self) -> Mapping[str, float]:
        """Returns the shares of padding among positions, masked among maskable tokens, used slots, and label 1."""
        positions = self.rows * (len(self.row_lengths) - 1)
        return {
            "padding": 1 - self.tokens / max(positions, 1),
            "masked": self.num_masked / max(self.maskable, 1),
            "slots used": self.num_masked / max(self.slots, 1),
            "label 1": self.swapped / max(self.rows, 1),
        }


def prediction_mask(batch: Row) -> Bool[np.ndarray, "B T"]:
    """Returns a mask of the positions to predict."""
    chosen = np.zeros(batch["input_ids"].shape, np.bool_)
    rows, slots = np.nonzero(batch["masked_weights"])
    chosen[rows, batch["masked_positions"][rows, slots]] = True
    return chosen


def unmasked_ids(batch: Row) -> Int[np.ndarray, "B T"]:
    """Returns the ids before masking."""
    original = batch["input_ids"].copy()
    rows, slots = np.nonzero(batch["masked_weights"])
    original[rows, batch["masked_positions"][rows, slots]] = batch["masked_ids"][rows, slots]
    return original


def _tokens_by_run(chosen: Bool[np.ndarray, "T"], starts_word: Bool[np.ndarray, "T"]) -> Int[np.ndarray, "runs"]:
    """Counts the chosen tokens in runs of 1, 2, ... words."""
    edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
    counts = np.zeros(LONGEST_RUN, np.int64)
    for begin, end in edges.reshape(-1, 2).tolist():
        words = 1 + int(starts_word[begin + 1 : end].sum())
        counts[min(words, LONGEST_RUN) - 1] += end - begin
    return counts
