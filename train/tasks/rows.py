"""Labeled examples as rows of tokens, rows as padded batches of a few lengths, and a model run over them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from flax_lite.rows.buckets import batches_by_bucket
from flax_lite.tokenization import Tokenizer

Batch = dict[str, np.ndarray]
# Batches whose rows are sorted by length together: among so many first ones is one of the longest rows there.
WINDOW = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What the model reads of an example, or of a part of it.

    Attributes:
        example: index of its example.
        tokens: ids with their specials; several sequences where the model chooses among them.
        seconds: where the tokens of each begin to be of type 1, as those of a second text are.
        labels: what the objective reads, by name: numbers, or arrays with the tokens on the first axis.
    """

    example: int
    tokens: tuple[Int[np.ndarray, "t"], ...]
    seconds: tuple[int, ...]
    labels: Mapping[str, np.ndarray]

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return max(map(len, self.tokens))


def build_tokens(
    tokenizer: Tokenizer,
    first: Sequence[int],
    second: Sequence[int] | None,
    max_length: int,
    max_second: int | None = None,
) -> tuple[Int[np.ndarray, "t"], int]:
    """[CLS] A [SEP] or [CLS] A [SEP] B [SEP], or as the tokenizer has them, and where token type 1 begins.

    What does not fit is cut from the end of the longer text, a token at a time; with `max_second`, B is first cut to
    its last `max_second` tokens and then A alone from its end (google-research/albert, race_utils.py).
    """
    if second is None or max_second is None:
        ids, ones = tokenizer.row(first, second, max_length)
    else:
        room, second = max_length - tokenizer.template.pair_size, second[-max_second:]
        ids, ones = tokenizer.pair_row(first[: max(0, room - len(second))], second[:room])
    return np.asarray(ids, np.int32), ones


class RowSet:
    """Rows, and the padded batches that they make.

    Args:
        rows: in the order of their examples.
        pad_id: the id that fills input_ids.
        lengths: those that batches may have, ascending; the last takes every row.
        label_padding: what fills a label that has tokens on its first axis, by name.
    """

    def __init__(
        self, rows: Sequence[Row], pad_id: int, lengths: Sequence[int], label_padding: Mapping[str, float]
    ) -> None:
        self.rows, self.pad_id, self.lengths, self.label_padding = rows, pad_id, tuple(lengths), dict(label_padding)
        sizes = np.array([row.length for row in rows], np.int64)
        if len(rows) and sizes.max() > self.lengths[-1]:
            raise ValueError(f"a row of {sizes.max()} tokens, but no batch is longer than {self.lengths[-1]}")
        self.bucket = np.searchsorted(self.lengths, sizes)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, rows: Sequence[Row]) -> "RowSet":
        """Other rows in batches of the same lengths."""
        return RowSet(rows, self.pad_id, self.lengths, self.label_padding)

    def batch(self, indices: Sequence[int], size: int, length: int) -> Batch:
        """The rows of the given indices, padded to [size, length]; what fills the batch up has weight 0 and index -1.

        Arrays: input_ids, attention_mask, token_type_ids [B, T] (of choices [B, choices, T]), labels by name,
        row_weights and row [B].
        """
        chosen = [self.rows[index] for index in indices]
        sequences = len(chosen[0].tokens)
        shape = (size, sequences, length)
        ids = np.full(shape, self.pad_id, np.int32)
        mask, types = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for at, row in enumerate(chosen):
            for number, (tokens, second) in enumerate(zip(row.tokens, row.seconds, strict=True)):
                ids[at, number, : len(tokens)] = tokens
                mask[at, number, : len(tokens)] = 1
                types[at, number, second : len(tokens)] = 1
        tokens = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        if sequences == 1:
            tokens = {name: array[:, 0] for name, array in tokens.items()}
        labels = {name: self._label(name, chosen, size, length) for name in chosen[0].labels}
        filling = size - len(chosen)
        return {
            **tokens,
            **labels,
            "row_weights": np.repeat(np.array([1, 0], np.float32), [len(chosen), filling]),
            "row": np.array([*indices, *[-1] * filling], np.int32),
        }

    def all_batches(self, tokens: int, multiple: int = 1) -> Iterator[Batch]:
        """Every row once, in batches of about `tokens` tokens: shapes (rows, length) follow from the length alone.

        Args:
            tokens: budget of a batch; at least `multiple` rows are taken.
            multiple: the number of rows divides by it.
        """
        sequences = len(self.rows[0].tokens) if self.rows else 1
        sizes = {n: max(multiple, tokens // (n * sequences) // multiple * multiple) for n in self.lengths}
        for batch in batches_by_bucket([row.length for row in self.rows], sizes):
            yield self.batch(batch.index[batch.index >= 0].tolist(), sizes[batch.length], batch.length)

    def _label(self, name: str, rows: Sequence[Row], size: int, length: int) -> np.ndarray:
        values = [row.labels[name] for row in rows]
        if name not in self.label_padding:
            filled = np.zeros((size, *values[0].shape), values[0].dtype)
            filled[: len(values)] = np.stack(values)
            return filled
        filled = np.full((size, length, *values[0].shape[1:]), self.label_padding[name], values[0].dtype)
        for at, value in enumerate(values):
            filled[at, : len(value)] = value
        return filled


class TrainingBatches:
    """The batches of a training run: passes over all rows, each in an order of its own, none left out or padded.

    A batch takes `batch_size` rows from wherever a pass has come to, across its end too. Of `window` batches the rows
    are sorted by length before they are cut into batches, and the batches are shuffled again: little padding, and still
    a random draw. Every batch follows from seed and number, so that a resumed run reads on where it was.

    Args:
        rows: of all examples.
        batch_size: rows of a batch.
        seed: of the orders.
        distinct: whether no row may stand twice in a batch. Each pass is then cut into batches for itself, and leaves
            out what makes no whole one: other rows in every pass.
        window: batches whose rows are sorted together.

    Raises:
        ValueError: if there are fewer rows than a batch of distinct ones has.
    """

    def __init__(
        self, rows: RowSet, batch_size: int, seed: int, *, distinct: bool = False, window: int = WINDOW
    ) -> None:
        self.rows, self.batch_size, self.seed, self.distinct, self.window = rows, batch_size, seed, distinct, window
        if distinct and len(rows) < batch_size:
            raise ValueError(f"{len(rows)} rows make no batch of {batch_size} distinct ones")

    def batches(self, start_step: int, process_index: int = 0, process_count: int = 1) -> Iterator[Batch]:
        """The batches of steps start_step + 1, start_step + 2, ... without end; of several hosts, this one's part."""
        step = start_step
        while True:
            batches, place = self._window(step)
            for indices in batches[place:]:
                length = self.rows.lengths[self.rows.bucket[indices].max()]
                part = indices.reshape(process_count, -1)[process_index]
                yield self.rows.batch(part.tolist(), len(part), length)
            step += len(batches) - place

    def _window(self, step: int) -> tuple[Int[np.ndarray, "window B"], int]:
        """The batches of the window that a step is in, and its place among them."""
        if self.distinct:
            per_pass = len(self.rows) // self.batch_size
            number, at = divmod(step, per_pass)
            place = at % self.window
            first, count = number * len(self.rows), min(self.window, per_pass - (at - place))
            first, number = first + (at - place) * self.batch_size, step - place
        else:
            number, place = divmod(step, self.window)
            first, count = number * self.window * self.batch_size, self.window
        rows = self._stream(first, count * self.batch_size)
        draw = np.random.default_rng((self.seed, 1, number))
        by_length = rows[np.argsort(self.rows.bucket[rows], kind="stable")]
        return by_length.reshape(count, self.batch_size)[draw.permutation(count)], place

    def _stream(self, start: int, count: int) -> Int[np.ndarray, "count"]:
        """Rows `start` to `start + count` of one pass after the other."""
        total = len(self.rows)
        passes = range(start // total, -(-(start + count) // total))
        order = np.concatenate([np.random.default_rng((self.seed, 0, each)).permutation(total) for each in passes])
        offset = start - passes.start * total
        return order[offset : offset + count]


def collect_rows(results: Sequence[Mapping[str, np.ndarray]], rows: RowSet) -> list[dict[str, np.ndarray]]:
    """What an evaluation step kept of each row, in the order of the rows.

    Args:
        results: arrays with the batch first, "row" among them; scalars are left out.
        rows: what the batches were made of.

    Raises:
        ValueError: if a row came twice, or not at all.
    """
    found: list[dict[str, np.ndarray] | None] = [None] * len(rows)
    for part in results:
        arrays = {name: array for name, array in part.items() if np.ndim(array) and name != "row"}
        for at, row in enumerate(part["row"].tolist()):
            if row >= 0:
                if found[row] is not None:
                    raise ValueError(f"row {row} was evaluated twice")
                found[row] = {name: array[at] for name, array in arrays.items()}
    missing = [index for index, kept in enumerate(found) if kept is None]
    if missing:
        raise ValueError(f"{len(missing)} of {len(rows)} rows were not evaluated")
    return [kept for kept in found if kept is not None]


def count_not_finite(results: Sequence[Mapping[str, np.ndarray]]) -> tuple[int, int]:
    """For how many rows a model gives something that is no finite number, and how many there are.

    Nothing may be decided by such a row: NaN is the largest of all to argmax, infinity has no softmax.

    Args:
        results: as in `collect_rows`.
    """
    bad = rows = 0
    for part in results:
        kept = np.asarray(part["row"]) >= 0
        arrays = [np.asarray(array) for name, array in part.items() if name != "row" and np.ndim(array)]
        odd = np.any([~np.isfinite(array.reshape(len(kept), -1)).all(1) for array in arrays], axis=0)
        rows, bad = rows + int(kept.sum()), bad + int((kept & odd).sum())
    return bad, rows


def run_rows(
    step: Callable[..., dict[str, jax.Array]], params: Any, rows: RowSet, tokens: int
) -> list[dict[str, np.ndarray]]:
    """What an evaluation step keeps of each batch, on the default device.

    Args:
        step: (params, batch) -> arrays, jitted here: compiled once for each length.
        params: of the model.
        rows: every one of them is read once.
        tokens: in a batch, padding included.
    """
    jitted = jax.jit(step)
    return [jax.device_get(jitted(params, batch)) for batch in rows.all_batches(tokens)]
