"""Batches in order, made ahead of the step that needs them, in this process or in workers.

The state of the pipeline is one number, the step: batch s holds rows s*B to s*B + B - 1. Grain carries the batches, by
random access into `PretrainingRows`, so the same batches come out whatever the number of workers.
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
    """An endless iterator over batches. Close it, or use it in a `with` block, to end its threads and processes."""

    def __init__(self, batches: "grain.DatasetIterator[Row]", batch_size: int, start_step: int) -> None:
        self._batches: grain.DatasetIterator[Row] | None = batches
        self._batch_size = batch_size
        self._step = start_step

    @property
    def next_row(self) -> int:
        """Global number of the first row of the next batch: the position to start from again."""
        return self._step * self._batch_size

    def __next__(self) -> Row:
        if self._batches is None:
            raise StopIteration
        batch = next(self._batches)
        self._step += 1
        # Arrays from a worker lie in shared memory that goes with them; a step may still read its batch by then.
        return {name: np.array(array) for name, array in batch.items()}

    def close(self) -> None:
        """Ends the background threads and processes."""
        if self._batches is not None:
            self._batches.close()
            # Grain's iterators refer to one another in a ring. Left to the interpreter's exit, they print errors there.
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
    """Iterates over the batches from a step on.

    Args:
        rows: where they come from.
        batch_size: B of the global batch.
        start_step: step of the first batch.
        workers: number of worker processes; 0 makes batches in a thread of this process. Workers are spawned: a script
            that asks for some needs the guard `if __name__ == "__main__":`.
        prefetch: batches made ahead, by each worker.
        process_index: which part of each global batch this host reads.
        process_count: into how many equal, consecutive parts the hosts divide a batch.

    Returns:
        Batches of the rows' fields with a leading axis of B / `process_count`, and `row_weights` float32, all 1.

    Raises:
        ValueError: if a number is out of range or the hosts do not divide the batch.
    """
    if start_step < 0 or workers < 0 or prefetch < 1:
        raise ValueError(
            "batches need start_step >= 0, workers >= 0 and prefetch >= 1, got "
            f"start_step={start_step}, workers={workers}, prefetch={prefetch}"
        )
    import grain  # takes a second, and is not needed for evaluation

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

    The last batch is filled up with rows whose `masked_weights` and `row_weights` are 0, so that sums over weights miss
    nothing and count nothing twice. Other arguments, and the fields, are those of `train_batches`.

    Raises:
        ValueError: if the hosts do not divide the batch.
    """
    part = _host_slice(batch_size, process_index, process_count)
    for start in range(0, len(rows), batch_size):
        numbers = np.arange(start, start + batch_size)[part]
        weights = (numbers < len(rows)).astype(np.float32)
        batch = rows.batch(np.minimum(numbers, len(rows) - 1).tolist())
        batch["masked_weights"] *= weights[:, None]
        yield batch | {"row_weights": weights}


class _BatchSource:
    """Random access to whole batches; what Grain hands to the workers."""

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
            f"a batch of {batch_size} rows has no equal part {process_index} of {process_count}: give a batch size "
            "that is a multiple of the number of hosts"
        )
    share = batch_size // process_count
    return slice(process_index * share, (process_index + 1) * share)


def _mark_flags_as_parsed() -> None:
    """Lets Grain 0.2.18 read its absl flags (their defaults) in programs that parse none: it raises otherwise."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _start_worker(worker_index: int, worker_count: int) -> None:
    del worker_index, worker_count
    follow_parent()
