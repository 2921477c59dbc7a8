"""Runs a model's function, compiled once for each shape of a batch, on rows of any length."""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from flax_lite.rows.buckets import BucketBatch, batches_by_bucket, padded

Outputs = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row of a batch.

    Attributes:
        tokens: ids, including special tokens.
        second: index of the first token of type 1 (the second text); the number of tokens if there is none.
        position: a position in the row that the function may use, such as that of a mask.
    """

    tokens: Int[np.ndarray, "t"]
    second: int
    position: int = 0


class Programs:
    """Compiled programs of `function(model, batch)` for batches of a few shapes. Thread-safe.

    Batches have input_ids, attention_mask, token_type_ids [B, T] and positions [B]; the function returns arrays with a
    leading axis of B. Each shape is compiled once, when the first batch of that shape comes, or by `compile`.
    """

    def __init__(self, function: Callable[..., Mapping[str, jax.Array]], model: Any, pad_id: int) -> None:
        """Creates the programs; nothing is compiled yet.

        Args:
            function: a function of (model, batch).
            model: a pytree.
            pad_id: id of the padding token.
        """
        # Flattening a model takes about as long as a tenth of a short text's batch, so it is done once.
        self._leaves, structure = jax.tree.flatten(model)
        self._function = lambda leaves, batch: function(jax.tree.unflatten(structure, leaves), batch)
        self._pad_id = pad_id
        self._compiled: dict[tuple[int, int], Callable[..., Mapping[str, jax.Array]]] = {}
        self._lock = threading.Lock()

    @property
    def compiled(self) -> tuple[tuple[int, int], ...]:
        """The shapes (B, T) that are compiled, ascending."""
        return tuple(sorted(self._compiled))

    def compile(self, size: int, length: int) -> Callable[..., Mapping[str, jax.Array]]:
        """Returns the program for batches of `size` rows of `length` tokens, compiled if it is not yet."""
        program = self._compiled.get((size, length))
        if program is not None:
            return program
        # One thread compiles; the others wait for it.
        with self._lock:
            if (size, length) not in self._compiled:
                batch = BucketBatch(length, np.full(size, -1), np.zeros(size, np.float32))
                arrays = self._arrays([], [0] * size, batch)
                self._compiled[size, length] = jax.jit(self._function).lower(self._leaves, arrays).compile()
            return self._compiled[size, length]

    def __call__(self, rows: Sequence[Row], rows_per_batch: Mapping[int, int]) -> Iterator[tuple[int, Outputs]]:
        """Runs rows in batches of similar length.

        Args:
            rows: rows of any length up to the longest bucket.
            rows_per_batch: number of rows in a batch of each bucket.

        Yields:
            The index of each row and its part of the outputs, including padding, in the order of the batches.

        Raises:
            ValueError: if a row is longer than the longest bucket.
        """
        fields = [_fields(row) for row in rows]
        previous: tuple[BucketBatch, Mapping[str, jax.Array]] | None = None
        for batch in batches_by_bucket([len(row.tokens) for row in rows], rows_per_batch):
            positions = [rows[number].position if number >= 0 else 0 for number in batch.index]
            arrays = self._arrays(fields, positions, batch)
            outputs = self.compile(len(batch.index), batch.length)(self._leaves, arrays)
            # The device computes this batch while the outputs of the previous one are read.
            if previous is not None:
                yield from _split(*previous)
            previous = batch, outputs
        if previous is not None:
            yield from _split(*previous)

    def _arrays(
        self, fields: Sequence[Mapping[str, np.ndarray]], positions: Sequence[int], batch: BucketBatch
    ) -> dict[str, np.ndarray]:
        fill = {"input_ids": self._pad_id, "attention_mask": 0, "token_type_ids": 0}
        return {**padded(fields, batch, fill), "positions": np.array(positions, np.int32)}


def _fields(row: Row) -> dict[str, np.ndarray]:
    size = len(row.tokens)
    types = np.zeros(size, np.int32)
    types[row.second :] = 1
    return {"input_ids": row.tokens, "attention_mask": np.ones(size, np.int32), "token_type_ids": types}


def _split(batch: BucketBatch, outputs: Mapping[str, jax.Array]) -> Iterator[tuple[int, Outputs]]:
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    for index, number in enumerate(batch.index):
        if number >= 0:
            yield int(number), {name: array[index] for name, array in arrays.items()}
