"""Runs a model's function, compiled once for each bucket, on rows of any length."""

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
    leading axis of B. Each bucket is compiled once, when the first row of its length comes, or by `compile`.
    """

    def __init__(
        self, function: Callable[..., Mapping[str, jax.Array]], model: Any, rows: Mapping[int, int], pad_id: int
    ) -> None:
        """Creates the programs; nothing is compiled yet.

        Args:
            function: a function of (model, batch).
            model: a pytree.
            rows: number of rows in a batch of each bucket.
            pad_id: id of the padding token.
        """
        self._function, self._model, self._rows, self._pad_id = function, model, dict(rows), pad_id
        self._compiled: dict[int, Callable[..., Mapping[str, jax.Array]]] = {}
        self._lock = threading.Lock()

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths of rows, ascending."""
        return tuple(sorted(self._rows))

    @property
    def compiled(self) -> tuple[int, ...]:
        """The buckets that are compiled, ascending."""
        return tuple(sorted(self._compiled))

    def compile(self, length: int) -> Callable[..., Mapping[str, jax.Array]]:
        """Returns the program of a bucket, compiled if it is not yet."""
        program = self._compiled.get(length)
        if program is not None:
            return program
        # One thread compiles; the others wait for it.
        with self._lock:
            if length not in self._compiled:
                size = self._rows[length]
                batch = BucketBatch(length, np.full(size, -1), np.zeros(size, np.float32))
                arrays = self._arrays([], [0] * size, batch)
                self._compiled[length] = jax.jit(self._function).lower(self._model, arrays).compile()
            return self._compiled[length]

    def __call__(self, rows: Sequence[Row]) -> Iterator[tuple[int, Outputs]]:
        """Runs rows in batches of similar length.

        Args:
            rows: rows of any length up to the longest bucket.

        Yields:
            The index of each row and its part of the outputs, including padding, in the order of the batches.

        Raises:
            ValueError: if a row is longer than the longest bucket.
        """
        fields = [_fields(row) for row in rows]
        previous: tuple[BucketBatch, Mapping[str, jax.Array]] | None = None
        for batch in batches_by_bucket([len(row.tokens) for row in rows], self._rows):
            positions = [rows[number].position if number >= 0 else 0 for number in batch.index]
            arrays = self._arrays(fields, positions, batch)
            outputs = self.compile(batch.length)(self._model, arrays)
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
