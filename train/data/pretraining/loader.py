"""Batches of rows in order, prefetched in this process or in workers.

The state of the pipeline is one number, the step: batch s holds rows s*B to s*B + B - 1. Grain reads the batches by
random access into `PretrainingRows`, so they do not depend on the number of workers.
"""

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from train.data.pretraining.rows import PretrainingRows, Row
from train.machine.workers import follow_parent

if TYPE_CHECKING:
    import grain


class TrainBatches(Iterator[Row]):
    """An endless iterator over batches. Close it, or use it in a `with` block, to stop its threads and processes."""

    def __init__(self, batches: "grain.DatasetIterator[Row]", batch_size: int, start_step: int) -> None:
        self._batches: grain.DatasetIterator[Row] | None = batches
        self._batch_size = batch_size
        self._step = start_step

    @property
    def next_row(self) -> int:
        """Number of the first row of the next global batch: the position from which to resume."""
        return self._step * self._batch_size

    def __next__(self) -> Row:
        if self._batches is None:
            raise StopIteration
        batch = next(self._batches)
        self._step += 1
        # Arrays from a worker are in shared memory that is freed with them, while a step may still read them.
        return {name: np.array(array) for name, array in batch.items()}

    def close(self) -> None:
        """Stops the background threads and processes."""
        if self._batches is not None:
            self._batches.close()
            # Grain's iterators refer to each other in a cycle. If it is collected only at exit, they print errors.
            self._batches = None
            gc.collect()

    def __enter__(self) -> "TrainBatches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def train_batches(
    rows: PretrainingRows,
    batch_size: int,
    start_step: int = 0,
    *,
    workers: int = 0,
    prefetch: int = 2,
    process_index: int = 0,
    process_count: int = 1,
) -> TrainBatches:
    """Iterates over the training batches from `start_step` on.

    Args:
        rows: the rows.
        batch_size: size B of the global batch.
        start_step: step of the first batch.
        workers: number of worker processes; 0 builds batches in a thread of this process. Workers are spawned, so a
            script that uses them needs the guard `if __name__ == "__main__":`.
        prefetch: number of batches that are built ahead, per worker.
        process_index: index of this host, which reads one part of each global batch.
        process_count: number of hosts; each reads an equal, consecutive part of a batch.

    Returns:
        Batches of the fields of the rows with a leading axis of B / `process_count`, and `row_weights` float32, all 1.

    Raises:
        ValueError: if a number is out of range, or the batch size is not a multiple of the number of hosts.
    """
    if start_step < 0 or workers < 0 or prefetch < 1:
        raise ValueError(
            "batches need start_step >= 0, workers >= 0 and prefetch >= 1, got "
            f"start_step={start_step}, workers={workers}, prefetch={prefetch}"
        )
    import grain  # takes a second to import, and evaluation does not need it

    source = _BatchSource(rows, batch_size, _host_slice(batch_size, process_index, process_count))
    batches = grain.MapDataset.source(source)[start_step:]
    if workers:
        _mark_flags_as_parsed()
        stream = batches.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)).mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch),
            worker_init_fn=_start_worker,
        )
    else:
        stream = batches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch))
    return TrainBatches(iter(stream), batch_size, start_step)


def eval_batches(
    rows: PretrainingRows, batch_size: int, *, process_index: int = 0, process_count: int = 1
) -> Iterator[Row]:
    """Yields every row once, in batches of one shape.

    The last batch is padded with rows whose `masked_weights` and `row_weights` are 0, so that weighted sums count every
    row exactly once. Arguments and fields are those of `train_batches`.

    Raises:
        ValueError: if the batch size is not a multiple of the number of hosts.
    """
    part = _host_slice(batch_size, process_index, process_count)
    for start in range(0, len(rows), batch_size):
        numbers = np.arange(start, start + batch_size)[part]
        weights = (numbers < len(rows)).astype(np.float32)
        batch = rows.batch(np.minimum(numbers, len(rows) - 1).tolist())
        batch["masked_weights"] *= weights[:, None]
        yield batch | {"row_weights": weights}


class _BatchSource:
    """Random access to whole batches, for Grain."""

    def __init__(self, rows: PretrainingRows, batch_size: int, part: slice) -> None:
        self._rows, self._batch_size, self._part = rows, batch_size, part

    def __len__(self) -> int:
        return len(self._rows) // self._batch_size

    def __getitem__(self, index: int) -> Row:
        start = int(index) * self._batch_size
        numbers = range(start, start + self._batch_size)[self._part]
        return self._rows.batch(numbers) | {"row_weights": np.ones(len(numbers), np.float32)}


def _host_slice(batch_size: int, process_index: int, process_count: int) -> slice:
    if batch_size < 1 or not 0 <= process_index < process_count or batch_size % process_count:
        raise ValueError(
            f"a batch of {batch_size} rows cannot be split evenly for host {process_index} of {process_count}: give a "
            "batch size that is a multiple of the number of hosts"
        )
    share = batch_size // process_count
    return slice(process_index * share, (process_index + 1) * share)


def _mark_flags_as_parsed() -> None:
    """Marks absl flags as parsed: Grain 0.2.18 reads its flags and raises in programs that do not parse any."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _start_worker(worker_index: int, worker_count: int) -> None:
    del worker_index, worker_count
    follow_parent()
