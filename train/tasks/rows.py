"""Rows of tokens from labeled examples, and their padded batches of a few lengths."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from flax_lite.rows.buckets import batches_by_bucket
from flax_lite.tokenization import Tokenizer

Batch = dict[str, np.ndarray]
# Number of batches whose rows are sorted by length together; the first window already has a batch of the longest rows.
WINDOW = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """The tokens of an example, or of a part of it.

    Attributes:
        example: index of the example.
        tokens: the ids of each sequence with special tokens; several sequences for multiple choice.
        seconds: for each sequence, the position at which its second text (token type 1) starts.
        labels: the labels by name: scalars, or arrays with one entry per token on the first axis.
    """

    example: int
    tokens: tuple[Int[np.ndarray, "t"], ...]
    seconds: tuple[int, ...]
    labels: Mapping[str, np.ndarray]

    @property
    def length(self) -> int:
        """The length of the longest sequence."""
        return max(map(len, self.tokens))


def build_tokens(
    tokenizer: Tokenizer,
    first: Sequence[int],
    second: Sequence[int] | None,
    max_length: int,
    max_second: int | None = None,
) -> tuple[Int[np.ndarray, "t"], int]:
    """Builds [CLS] A [SEP] or [CLS] A [SEP] B [SEP], with the special tokens of the tokenizer.

    Tokens beyond `max_length` are removed one at a time from the end of the longer text. With `max_second`, B is first
    reduced to its last `max_second` tokens, and then only A is truncated (google-research/albert, race_utils.py).

    Returns:
        The ids, and the position at which token type 1 starts.
    """
    if second is None or max_second is None:
        ids, second_start = tokenizer.row(first, second, max_length)
    else:
        room, second = max_length - tokenizer.template.pair_size, second[-max_second:]
        ids, second_start = tokenizer.pair_row(first[: max(0, room - len(second))], second[:room])
    return np.asarray(ids, np.int32), second_start


class RowSet:
    """Rows and their padded batches.

    Args:
        rows: the rows, in the order of their examples.
        pad_id: the id of padding.
        lengths: the possible lengths of batches, ascending; every row fits into the last.
        label_padding: the padding value of each label that has one entry per token, by name.
    """

    def __init__(
        self, rows: Sequence[Row], pad_id: int, lengths: Sequence[int], label_padding: Mapping[str, float]
    ) -> None:
        self.rows, self.pad_id, self.lengths, self.label_padding = rows, pad_id, tuple(lengths), dict(label_padding)
        sizes = np.array([row.length for row in rows], np.int64)
        if len(rows) and sizes.max() > self.lengths[-1]:
            raise ValueError(f"a row has {sizes.max()} tokens, but batches have at most {self.lengths[-1]}")
        self.bucket = np.searchsorted(self.lengths, sizes)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, rows: Sequence[Row]) -> "RowSet":
        """Returns a set of other rows with the same settings."""
        return RowSet(rows, self.pad_id, self.lengths, self.label_padding)

    def batch(self, indices: Sequence[int], size: int, length: int) -> Batch:
        """Returns the rows of the given indices, padded to [size, length]; padding rows have weight 0 and index -1.

        The arrays are input_ids, attention_mask, token_type_ids [B, T] ([B, choices, T] for multiple choice), the
        labels by name, row_weights and row [B].
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
        num_padding = size - len(chosen)
        return {
            **tokens,
            **labels,
            "row_weights": np.repeat(np.array([1, 0], np.float32), [len(chosen), num_padding]),
            "row": np.array([*indices, *[-1] * num_padding], np.int32),
        }

    def all_batches(self, tokens: int, multiple: int = 1) -> Iterator[Batch]:
        """Yields every row once, in batches of about `tokens` tokens; the length of a batch determines its size.

        Args:
            tokens: the number of tokens in a batch, including padding; a batch has at least `multiple` rows.
            multiple: the number of rows of a batch is a multiple of it.
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
    """The batches of a training run: epochs over all rows in random order, without dropped rows or padding rows.

    A batch may continue into the next epoch. The rows of `window` batches are sorted by length, split into batches, and
    the batches are shuffled, which reduces padding and keeps the order random. A batch is determined by the seed and
    its number, so that a resumed run continues with the same batches.

    Args:
        rows: the rows of all examples.
        batch_size: number of rows in a batch.
        seed: seed of the random orders.
        distinct: whether a batch may not contain a row twice. Each epoch is then split into batches by itself and drops
            the rows of an incomplete batch, which are others in every epoch.
        window: number of batches whose rows are sorted together.

    Raises:
        ValueError: if `distinct` and there are fewer rows than `batch_size`.
    """

    def __init__(
        self, rows: RowSet, batch_size: int, seed: int, *, distinct: bool = False, window: int = WINDOW
    ) -> None:
        self.rows, self.batch_size, self.seed, self.distinct, self.window = rows, batch_size, seed, distinct, window
        if distinct and len(rows) < batch_size:
            raise ValueError(f"{len(rows)} rows are too few for a batch of {batch_size} distinct rows")

    @property
    def steps_per_epoch(self) -> float:
        """The number of batches in a pass over the rows."""
        return len(self.rows) // self.batch_size if self.distinct else len(self.rows) / self.batch_size

    def batches(self, start_step: int, process_index: int = 0, process_count: int = 1) -> Iterator[Batch]:
        """Yields the batches of steps start_step + 1, start_step + 2, ... endlessly; only this host's part of each."""
        step = start_step
        while True:
            batches, offset = self._window(step)
            for indices in batches[offset:]:
                length = self.rows.lengths[self.rows.bucket[indices].max()]
                part = indices.reshape(process_count, -1)[process_index]
                yield self.rows.batch(part.tolist(), len(part), length)
            step += len(batches) - offset

    def _window(self, step: int) -> tuple[Int[np.ndarray, "window B"], int]:
        """Returns the batches of the window that contains a step, and the position of the step in it."""
        if self.distinct:
            per_epoch = len(self.rows) // self.batch_size
            epoch, in_epoch = divmod(step, per_epoch)
            offset = in_epoch % self.window
            count = min(self.window, per_epoch - (in_epoch - offset))
            first = epoch * len(self.rows) + (in_epoch - offset) * self.batch_size
            number = step - offset
        else:
            number, offset = divmod(step, self.window)
            first, count = number * self.window * self.batch_size, self.window
        rows = self._stream(first, count * self.batch_size)
        rng = np.random.default_rng((self.seed, 1, number))
        by_length = rows[np.argsort(self.rows.bucket[rows], kind="stable")]
        return by_length.reshape(count, self.batch_size)[rng.permutation(count)], offset

    def _stream(self, start: int, count: int) -> Int[np.ndarray, "count"]:
        """Returns rows `start` to `start + count` of the concatenated epochs."""
        total = len(self.rows)
        epochs = range(start // total, -(-(start + count) // total))
        order = np.concatenate([np.random.default_rng((self.seed, 0, epoch)).permutation(total) for epoch in epochs])
        offset = start - epochs.start * total
        return order[offset : offset + count]


def collect_rows(results: Sequence[Mapping[str, np.ndarray]], rows: RowSet) -> list[dict[str, np.ndarray]]:
    """Collects the results of an evaluation step by row, in the order of the rows.

    Args:
        results: for each batch, arrays with the batch on the first axis, including "row"; scalars are ignored.
        rows: the rows that were evaluated.

    Raises:
        ValueError: if a row was evaluated twice or not at all.
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
    """Counts the rows with NaN or infinity in their results, and all rows.

    Such rows must not be predicted: argmax selects NaN, and softmax of infinity is NaN.

    Args:
        results: as in `collect_rows`.
    """
    bad = rows = 0
    for part in results:
        kept = np.asarray(part["row"]) >= 0
        arrays = [np.asarray(array) for name, array in part.items() if name != "row" and np.ndim(array)]
        not_finite = np.any([~np.isfinite(array.reshape(len(kept), -1)).all(1) for array in arrays], axis=0)
        rows, bad = rows + int(kept.sum()), bad + int((kept & not_finite).sum())
    return bad, rows


def run_rows(
    step: Callable[..., dict[str, jax.Array]], params: Any, rows: RowSet, tokens: int
) -> list[dict[str, np.ndarray]]:
    """Runs an evaluation step over all rows on the default device, and returns its results for each batch.

    Args:
        step: function of (params, batch) that returns arrays; it is jitted here and compiled once for each length.
        params: the parameters of the model.
        rows: the rows, each evaluated once.
        tokens: the number of tokens in a batch, including padding.
    """
    jitted = jax.jit(step)
    return [jax.device_get(jitted(params, batch)) for batch in rows.all_batches(tokens)]
