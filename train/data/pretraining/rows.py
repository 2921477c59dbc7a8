"""Pretraining rows by number: any process can build any row at any time, deterministically.

Rows are segment pairs (`PairRows`) or packed texts (`PackedRows`).

Row r of a run is row i of epoch e. The plan of the epoch determines its text, and its masks are drawn from a random
stream for (seed, e, i). The position of a run in its data is therefore one number, whatever the reading order, the
number of workers or the number of interruptions.
"""

import abc
import bisect
import dataclasses
import functools
import threading
from collections.abc import Iterable, Mapping
from typing import Any, SupportsIndex

import numpy as np

from flax_lite.rows.masking import mask_ngrams
from flax_lite.rows.packing import PackPlan, count_packed_rows, plan_packing
from flax_lite.rows.pairs import PairPlan, count_pairs, plan_pairs
from flax_lite.rows.recipe import PretrainingRecipe, RowKind, TokenizerInfo
from train.data.pretraining.plans import Plans
from train.data.tokens.store import TokenStore

Row = dict[str, np.ndarray]

# The length of an endless sequence, which `len` needs; no run is longer.
_ENDLESS = 2**62
# The plan of the next epoch is started when this share of an epoch has been read. It takes 0.3 s per million sentences,
# so a minute for English Wikipedia, far less than half an epoch.
_READ_BEFORE_NEXT_PLAN = 0.5
# Seed of the held-out rows; fixed, so that runs with different seeds are evaluated on the same rows.
_HELD_OUT_SEED = 12345


class PretrainingRows(abc.ABC):
    """The rows of a run, in order. Every epoch has another plan and other masks.

    A row is a dict of `input_ids`, `attention_mask`, `token_type_ids` int32 [T]; `masked_positions`, `masked_ids` int32
    [P] and `masked_weights` float32 [P], unless the training step draws the masks; and the fields of the subclass.
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
        """Creates the sequence; rows and plans are built when they are read.

        Args:
            store: the tokenized corpus.
            tokenizer: the ids of the tokenizer.
            recipe: how rows are built.
            seed: seed of plans and masks, 0 or more.
            num_rows: number of rows, at most one epoch; endless if None.

        Raises:
            ValueError: if the store has another vocabulary, or `seed` or `num_rows` is out of range.
        """
        if store.vocab_size != tokenizer.vocab_size:
            raise ValueError(f"the corpus has {store.vocab_size} ids, the tokenizer {tokenizer.vocab_size}")
        if not 0 <= seed < 2**63 or (num_rows is not None and num_rows < 1):
            raise ValueError(f"rows need 0 <= seed < 2**63 and num_rows >= 1, got seed={seed}, num_rows={num_rows}")
        self._settings: dict[str, Any] = {"seed": seed, "num_rows": num_rows}
        self.store, self.tokenizer, self.recipe = store, tokenizer, recipe
        self._seed = seed
        self._plans: Plans[Any] = Plans(self._make_plan)
        self._epoch_starts = [0]  # number of the first row of each epoch, as far as known
        self._lock = threading.Lock()
        self._length = _ENDLESS if num_rows is None else min(num_rows, self.epoch_size(0))

    @abc.abstractmethod
    def _count(self, epoch: int) -> int:
        """Returns the number of rows of an epoch."""

    @abc.abstractmethod
    def _make_plan(self, epoch: int) -> Any:
        """Computes the plan of an epoch: the text of each row, and `num_rows`."""

    def sentence_labels(self, epoch: int) -> np.ndarray | None:
        """Returns the sentence label of each row of an epoch; None if rows have no such label."""
        del epoch
        return None

    @abc.abstractmethod
    def _compose(self, plan: Any, index: int) -> Row:
        """Builds row `index` of a plan without padding and masks: `input_ids` and the fields of the subclass."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (type(self), self.store, self.tokenizer, self.recipe, self._settings)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: SupportsIndex) -> Row:
        number = index.__index__()
        return {name: array[0] for name, array in self.batch([number]).items()}

    def batch(self, numbers: Iterable[int]) -> Row:
        """Builds the rows of the given numbers, stacked on a leading axis in that order.

        Raises:
            IndexError: if a number is out of range.
        """
        numbers = list(numbers)
        batch = self._empty_batch(len(numbers))
        for slot, number in enumerate(numbers):
            if not 0 <= number < self._length:
                raise IndexError(f"row {number} is out of range: there are {self._length} rows")
            self._write_row(number, batch, slot)
        return batch

    def epoch_size(self, epoch: int) -> int:
        """Returns the number of rows of an epoch; epochs differ slightly, because segment lengths are random."""
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
            size = self._plans.get(epoch).num_rows if epoch in self._plans else self._count(epoch)
            self._epoch_starts.append(self._epoch_starts[-1] + size)

    @property
    def _offsets(self) -> tuple[np.ndarray, np.ndarray]:
        return self.store.sentence_offsets, self.store.document_offsets

    def _empty_batch(self, size: int) -> Row:
        tokens, slots = (size, self.recipe.max_length), (size, self.recipe.max_predictions)
        batch = {
            "input_ids": np.full(tokens, self.tokenizer.pad_id, np.int32),
            "attention_mask": np.zeros(tokens, np.int32),
            "token_type_ids": np.zeros(tokens, np.int32),
        }
        if self.recipe.masking == "batch":
            return batch
        return batch | {
            "masked_positions": np.zeros(slots, np.int32),
            "masked_ids": np.zeros(slots, np.int32),
            "masked_weights": np.zeros(slots, np.float32),
        }

    def _write_row(self, number: int, batch: Row, slot: int) -> None:
        epoch, index = self.locate(number)
        plan = self._plans.get(epoch)
        if self._length == _ENDLESS and index >= _READ_BEFORE_NEXT_PLAN * plan.num_rows:
            self._plans.prepare(epoch + 1)
        row = self._compose(plan, index)
        ids = row.pop("input_ids")
        batch["input_ids"][slot, : len(ids)] = ids
        batch["attention_mask"][slot, : len(ids)] = 1
        for name, values in row.items():
            field = batch[name][slot : slot + 1].reshape(-1)  # a view: [T], or [1] for a scalar
            field[: values.size] = values
        if self.recipe.masking == "rows":
            self._mask(ids, self._mask_stream(epoch, index), batch, slot)

    def _mask(self, ids: np.ndarray, rng: np.random.Generator, batch: Row, slot: int) -> None:
        masked = mask_ngrams(
            ids,
            self.tokenizer.starts_word[ids],
            self.tokenizer.is_maskable[ids],
            rng,
            max_predictions=self.recipe.max_predictions,
            mask_id=self.tokenizer.mask_id,
            vocab_size=self.tokenizer.vocab_size,
            max_ngram=self.recipe.max_ngram,
            masked_fraction=self.recipe.masked_fraction,
            whole_word=self.recipe.whole_word,
        )
        batch["input_ids"][slot, : len(ids)] = masked.input_ids
        batch["masked_positions"][slot] = masked.positions
        batch["masked_ids"][slot] = masked.original_ids
        batch["masked_weights"][slot] = masked.weights

    def _mask_stream(self, epoch: int, index: int) -> np.random.Generator:
        # Philox is a function of a key and a counter, and drawing advances the low words of the counter only, so that
        # streams of different rows never overlap. Creating one takes 6 us; seeding by SeedSequence takes 11 us.
        return np.random.Generator(np.random.Philox(key=[self._seed, 0], counter=[0, 0, index, epoch]))


class PairRows(PretrainingRows):
    """Rows [CLS] A [SEP] B [SEP] with token types 0 and 1, and `sentence_label` int32 [] of the two segments."""

    def _count(self, epoch: int) -> int:
        return count_pairs(*self._offsets, self.recipe.pairs, seed=self._seed, epoch=epoch)

    def sentence_labels(self, epoch: int) -> np.ndarray | None:
        """Returns the sentence label of each row of an epoch."""
        return self._plans.get(epoch).label

    def _make_plan(self, epoch: int) -> PairPlan:
        return plan_pairs(*self._offsets, self.recipe.pairs, seed=self._seed, epoch=epoch)

    def _empty_batch(self, size: int) -> Row:
        return super()._empty_batch(size) | {"sentence_label": np.zeros(size, np.int32)}

    def _compose(self, plan: PairPlan, index: int) -> Row:
        (first_a, first_b), (length_a, length_b) = plan.first[index].tolist(), plan.length[index].tolist()
        start_b, length = length_a + 2, length_a + length_b + 3
        ids = np.empty(length, np.int32)
        ids[0], ids[start_b - 1], ids[-1] = self.tokenizer.cls_id, self.tokenizer.sep_id, self.tokenizer.sep_id
        ids[1 : start_b - 1] = self.store.ids[first_a : first_a + length_a]
        ids[start_b:-1] = self.store.ids[first_b : first_b + length_b]
        types = (np.arange(length) >= start_b).astype(np.int32)
        return {"input_ids": ids, "token_type_ids": types, "sentence_label": plan.label[index]}


class PackedRows(PretrainingRows):
    """Rows of as many texts [CLS] text [SEP] as fit, for block-diagonal attention.

    Adds `segment_ids` int32 [T], the number of each token's text from 1, and 0 for padding; and `position_ids` int32
    [T], which restart at 0 with each text.
    """

    @property
    def _offsets(self) -> tuple[np.ndarray, np.ndarray]:
        if self.recipe.texts == "documents":
            return super()._offsets
        return self.store.sentence_offsets, np.arange(len(self.store.sentence_offsets))

    def _count(self, epoch: int) -> int:
        return self._num_rows

    @functools.cached_property
    def _num_rows(self) -> int:
        return count_packed_rows(*self._offsets, self.recipe.max_length)

    @property
    def padding_share(self) -> float:
        """Share of padding in an epoch."""
        plan = self._plans.get(0)
        used = int(plan.length.sum()) + 2 * len(plan.length)
        return 1 - used / (self._num_rows * self.recipe.max_length)

    def _make_plan(self, epoch: int) -> PackPlan:
        return plan_packing(*self._offsets, self.recipe.max_length, seed=self._seed, epoch=epoch)

    def _empty_batch(self, size: int) -> Row:
        tokens = (size, self.recipe.max_length)
        added = {name: np.zeros(tokens, np.int32) for name in ("segment_ids", "position_ids")}
        return super()._empty_batch(size) | added

    def _compose(self, plan: PackPlan, index: int) -> Row:
        texts = slice(*plan.row_offsets[index : index + 2])
        cls_id, sep_id = ([special] for special in (self.tokenizer.cls_id, self.tokenizer.sep_id))
        parts, sizes = [], plan.length[texts] + 2
        for first, length in zip(plan.first[texts].tolist(), plan.length[texts].tolist(), strict=True):
            parts += [cls_id, self.store.ids[first : first + length], sep_id]
        return {
            "input_ids": np.concatenate(parts).astype(np.int32),
            "segment_ids": np.repeat(np.arange(1, len(sizes) + 1), sizes),
            "position_ids": np.concatenate([np.arange(size) for size in sizes]),
        }


_KINDS: Mapping[RowKind, type[PretrainingRows]] = {"pairs": PairRows, "packed": PackedRows}


def make_rows(
    store: TokenStore, tokenizer: TokenizerInfo, recipe: PretrainingRecipe, *, seed: int, num_rows: int | None = None
) -> PretrainingRows:
    """Creates the rows that the recipe describes; arguments and errors are those of `PretrainingRows`."""
    return _KINDS[recipe.rows](store, tokenizer, recipe, seed=seed, num_rows=num_rows)


def held_out_rows(
    store: TokenStore, tokenizer: TokenizerInfo, recipe: PretrainingRecipe, *, num_rows: int, seed: int = _HELD_OUT_SEED
) -> PretrainingRows:
    """Creates the held-out rows: at most `num_rows` random rows of one epoch, the same at every evaluation.

    They are always masked row by row with uniform token probabilities, so that losses of runs with different masking
    are comparable.
    """
    recipe = dataclasses.replace(recipe, masking="rows", mask_smoothing=0.0)
    return make_rows(store, tokenizer, recipe, seed=seed, num_rows=num_rows)


def _remake(
    kind: type[PretrainingRows],
    store: TokenStore,
    tokenizer: TokenizerInfo,
    recipe: PretrainingRecipe,
    settings: dict[str, Any],
) -> PretrainingRows:
    return kind(store, tokenizer, recipe, **settings)
