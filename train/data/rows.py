"""Pretraining rows by number: any row can be made at any time, by any process, and is always the same.

Row r of a run is row i of epoch e. The epoch's plan says which text it holds, and its masks are drawn from a stream of
their own for (seed, e, i). So the position of a run in its data is one number, whatever the order, the number of
workers or the number of interruptions.
"""

import bisect
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from jaxtyping import Bool

from flax_lite.masking import mask_ngrams
from train.data.pairs import PairPlan, PairRecipe, PairTask, count_pairs, plan_pairs
from train.data.store import TokenStore

if TYPE_CHECKING:
    from flax_lite.tokenization import Tokenizer

Row = dict[str, np.ndarray]

# Longer than any run; a length is asked for, an end is never reached.
_ENDLESS = 2**62
_PLANS_KEPT = 2  # around the change of an epoch, prefetching and reading are in different ones
# Seed of the evaluation rows. Runs with different seeds are measured on the same ones. Any number does.
_HELD_OUT_SEED = 12345


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenizerInfo:
    """The ids that rows are made with; small enough to be sent to worker processes.

    Attributes:
        vocab_size: V.
        pad_id: id of the padding.
        cls_id: id of the first token of a row.
        sep_id: id of the token that closes a segment.
        mask_id: id of the token that hides another.
        is_maskable: whether an id may be masked: all but the specials. Google's code would mask an unknown token too,
            though there is nothing to learn from it.
        starts_word: whether a piece begins a word.
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
        """Takes them from a tokenizer."""
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
    """What a row looks like.

    Attributes:
        max_length: T, tokens of a row with its specials and padding.
        max_predictions: P, slots for masked tokens. Where it is below `masked_fraction` of T, long rows have fewer
            masks than that (Google's own 20 at T = 512 masks 4%).
        masked_fraction: share of the tokens to mask.
        max_ngram: most words masked in a row as one; 1 for BERT.
        whole_word: whether words are masked whole; False for the original BERT.
        short_seq_prob: probability that a pass over a document aims at shorter pairs.
        pair_task: "sop" (ALBERT) or "nsp" (BERT).
    """

    max_length: int
    max_predictions: int
    masked_fraction: float = 0.15
    max_ngram: int = 3
    whole_word: bool = True
    short_seq_prob: float = 0.1
    pair_task: PairTask = "sop"

    def __post_init__(self) -> None:
        if self.max_length < 5:
            raise ValueError(f"a row holds 3 specials and at least 2 tokens, got max_length={self.max_length}")
        if not 1 <= self.max_predictions <= self.max_length:
            raise ValueError(
                f"max_predictions must be from 1 to max_length={self.max_length}, got {self.max_predictions}"
            )
        if not 0.0 <= self.masked_fraction <= 1.0:
            raise ValueError(f"masked_fraction must be from 0 to 1, got {self.masked_fraction}")
        if self.max_ngram < 1:
            raise ValueError(f"max_ngram must be 1 or more, got {self.max_ngram}")
        _ = self.pairs  # raises for the leaves that it holds

    @property
    def pairs(self) -> PairRecipe:
        """The part that decides the segment pairs."""
        return PairRecipe(self.max_length - 3, self.short_seq_prob, self.pair_task)


class PretrainingRows:
    """Rows of one run, in order: [CLS] A [SEP] B [SEP], padded to T, with masked tokens and a sentence label.

    A row is a dict of `input_ids`, `attention_mask`, `token_type_ids` int32 [T]; `masked_positions`, `masked_ids` int32
    [P] and `masked_weights` float32 [P]; `sentence_label` int32 []. Every epoch has its own pairs and masks.
    """

    def __init__(
        self,
        store: TokenStore,
        tokenizer: TokenizerInfo,
        recipe: PretrainingRecipe,
        *,
        seed: int,
        num_rows: int | None = None,
    ) -> None:
        """Makes no row and no plan yet.

        Args:
            store: the tokenised corpus.
            tokenizer: its ids.
            recipe: the shape of the rows.
            seed: 0 or more.
            num_rows: end after so many rows, or after the first epoch; never if None.

        Raises:
            ValueError: if the store was made with another vocabulary, or `seed` or `num_rows` is out of range.
        """
        if store.vocab_size != tokenizer.vocab_size:
            raise ValueError(f"the corpus has {store.vocab_size} ids, the tokenizer {tokenizer.vocab_size}")
        if not 0 <= seed < 2**63 or (num_rows is not None and num_rows < 1):
            raise ValueError(f"rows need 0 <= seed < 2**63 and num_rows >= 1, got seed={seed}, num_rows={num_rows}")
        self._settings: dict[str, Any] = {"seed": seed, "num_rows": num_rows}
        self.store, self.tokenizer, self.recipe = store, tokenizer, recipe
        self._seed = seed
        self._plans: OrderedDict[int, PairPlan] = OrderedDict()
        self._epoch_starts = [0]  # global number of each epoch's first row, as far as known
        self._lock = threading.Lock()
        self._length = _ENDLESS if num_rows is None else min(num_rows, self.epoch_size(0))

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (self.store, self.tokenizer, self.recipe, self._settings)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: SupportsIndex) -> Row:
        number = index.__index__()
        return {name: array[0] for name, array in self.batch([number]).items()}

    def batch(self, numbers: Iterable[int]) -> Row:
        """Makes the rows of these numbers, stacked on a leading axis in the order given.

        Raises:
            IndexError: if a number is negative or not below the length.
        """
        numbers = list(numbers)
        batch = self._empty_batch(len(numbers))
        for slot, number in enumerate(numbers):
            if not 0 <= number < self._length:
                raise IndexError(f"row {number} of {self._length}")
            self._write_row(number, batch, slot)
        return batch

    def epoch_size(self, epoch: int) -> int:
        """Returns the number of rows of an epoch; they differ a little, as lengths are drawn anew."""
        with self._lock:
            self._find_epoch_starts(until=epoch + 1)
            return self._epoch_starts[epoch + 1] - self._epoch_starts[epoch]

    def locate(self, number: int) -> tuple[int, int]:
        """Returns the epoch of a row and its number within it."""
        with self._lock:
            while self._epoch_starts[-1] < number:
                self._find_epoch_starts(until=len(self._epoch_starts))
            epoch = bisect.bisect_right(self._epoch_starts, number) - 1
            return epoch, number - self._epoch_starts[epoch]

    def _find_epoch_starts(self, until: int) -> None:
        for epoch in range(len(self._epoch_starts) - 1, until):
            size = count_pairs(*self._offsets, self.recipe.pairs, seed=self._seed, epoch=epoch)
            self._epoch_starts.append(self._epoch_starts[-1] + size)

    def _plan(self, epoch: int) -> PairPlan:
        with self._lock:
            if epoch not in self._plans:
                self._plans[epoch] = plan_pairs(*self._offsets, self.recipe.pairs, seed=self._seed, epoch=epoch)
                while len(self._plans) > _PLANS_KEPT:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(epoch)
            return self._plans[epoch]

    @property
    def _offsets(self) -> tuple[np.ndarray, np.ndarray]:
        return self.store.sentence_offsets, self.store.document_offsets

    def _empty_batch(self, size: int) -> Row:
        tokens, slots = (size, self.recipe.max_length), (size, self.recipe.max_predictions)
        return {
            "input_ids": np.full(tokens, self.tokenizer.pad_id, np.int32),
            "attention_mask": np.zeros(tokens, np.int32),
            "token_type_ids": np.zeros(tokens, np.int32),
            "masked_positions": np.zeros(slots, np.int32),
            "masked_ids": np.zeros(slots, np.int32),
            "masked_weights": np.zeros(slots, np.float32),
            "sentence_label": np.zeros(size, np.int32),
        }

    def _write_row(self, number: int, batch: Row, slot: int) -> None:
        epoch, index = self.locate(number)
        plan, tokenizer = self._plan(epoch), self.tokenizer
        (first_a, first_b), (length_a, length_b) = plan.first[index].tolist(), plan.length[index].tolist()
        start_b, length = length_a + 2, length_a + length_b + 3
        ids = np.empty(length, np.int32)
        ids[0], ids[start_b - 1], ids[-1] = tokenizer.cls_id, tokenizer.sep_id, tokenizer.sep_id
        ids[1 : start_b - 1] = self.store.ids[first_a : first_a + length_a]
        ids[start_b:-1] = self.store.ids[first_b : first_b + length_b]
        masked = mask_ngrams(
            ids,
            tokenizer.starts_word[ids],
            tokenizer.is_maskable[ids],
            self._mask_stream(epoch, index),
            max_predictions=self.recipe.max_predictions,
            mask_id=tokenizer.mask_id,
            vocab_size=tokenizer.vocab_size,
            max_ngram=self.recipe.max_ngram,
            masked_fraction=self.recipe.masked_fraction,
            whole_word=self.recipe.whole_word,
        )
        batch["input_ids"][slot, :length] = masked.input_ids
        batch["attention_mask"][slot, :length] = 1
        batch["token_type_ids"][slot, start_b:length] = 1
        batch["masked_positions"][slot] = masked.positions
        batch["masked_ids"][slot] = masked.original_ids
        batch["masked_weights"][slot] = masked.weights
        batch["sentence_label"][slot] = plan.label[index]

    def _mask_stream(self, epoch: int, index: int) -> np.random.Generator:
        # Philox is a function of key and counter, and a draw moves the counter's low words only: so rows never share
        # draws, and a stream is ready in 6 us, where seeding by hash takes 11.
        return np.random.Generator(np.random.Philox(key=[self._seed, 0], counter=[0, 0, index, epoch]))


def held_out_rows(
    store: TokenStore, tokenizer: TokenizerInfo, recipe: PretrainingRecipe, *, num_rows: int, seed: int = _HELD_OUT_SEED
) -> PretrainingRows:
    """Returns the evaluation rows: at most `num_rows` random ones of a single epoch, the same at every evaluation."""
    return PretrainingRows(store, tokenizer, recipe, seed=seed, num_rows=num_rows)


def _remake(
    store: TokenStore, tokenizer: TokenizerInfo, recipe: PretrainingRecipe, settings: dict[str, Any]
) -> PretrainingRows:
    return PretrainingRows(store, tokenizer, recipe, **settings)
