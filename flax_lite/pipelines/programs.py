"""A model's function, compiled once for each bucket, and rows of any length through it."""

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
    """What a model reads at once.

    Attributes:
        tokens: ids, specials included.
        second: where tokens begin to be of type 1, as those of a second text are; their number where none is.
        position: a place in the row that the function asks for, if it does.
    """

    tokens: Int[np.ndarray, "t"]
    second: int
    position: int = 0

    @property
    def most_type(self) -> int:
        """The highest of the token types."""
        return int(self.second < len(self.tokens))


class Programs:
    """`function(model, batch)` for batches of a few shapes. Can be called from several threads.

    Batches hold input_ids, attention_mask, token_type_ids [B, T] and positions [B]; the function returns arrays with a
    leading axis of B. Each bucket is compiled once, when a row of its length first comes, or by `compile`.
    """

    def __init__(
        self, function: Callable[..., Mapping[str, jax.Array]], model: Any, rows: Mapping[int, int], pad_id: int
    ) -> None:
        """Compiles nothing yet.

        Args:
            function: of (model, batch).
            model: a pytree.
            rows: buckets, and the rows of a batch of each.
            pad_id: the id that fills rows.
        """
        self._function, self._model, self._rows, self._pad_id = function, model, dict(rows), pad_id
        self._compiled: dict[int, Callable[..., Mapping[str, jax.Array]]] = {}
        self._lock = threading.Lock()

    @property
    def buckets(self) -> tuple[int, ...]:
        """Lengths of rows, rising."""
        return tuple(sorted(self._rows))

    @property
    def compiled(self) -> tuple[int, ...]:
        """The buckets that have been compiled."""
        return tuple(sorted(self._compiled))

    def compile(self, length: int) -> Callable[..., Mapping[str, jax.Array]]:
        """The program of a bucket."""
        program = self._compiled.get(length)
        if program is not None:
            return program
        # One thread compiles, others that need the same bucket wait for it.
        with self._lock:
            if length not in self._compiled:
                size = self._rows[length]
                batch = BucketBatch(length, np.full(size, -1), np.zeros(size, np.float32))
                arrays = self._arrays([], [0] * size, batch)
                self._compiled[length] = jax.jit(self._function).lower(self._model, arrays).compile()
            return self._compiled[length]

    def __call__(self, rows: Sequence[Row]) -> Iterator[tuple[int, Outputs]]:
        """Runs rows, those of one length together.

        Yields:
            The number of each row and its part of the outputs, padding of the row included, batch by batch.

        Raises:
            ValueError: if a row is longer than the longest bucket.
        """
        fields = [_fields(row) for row in rows]
        running: tuple[BucketBatch, Mapping[str, jax.Array]] | None = None
        for batch in batches_by_bucket([len(row.tokens) for row in rows], self._rows):
            positions = [rows[number].position if number >= 0 else 0 for number in batch.index]
            arrays = self._arrays(fields, positions, batch)
            started = batch, self.compile(batch.length)(self._model, arrays)
            # The device computes this batch while the one before is read.
            if running is not None:
                yield from _split(*running)
            running = started
        if running is not None:
            yield from _split(*running)

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
    for place, number in enumerate(batch.index):
        if number >= 0:
            yield int(number), {name: array[place] for name, array in arrays.items()}
