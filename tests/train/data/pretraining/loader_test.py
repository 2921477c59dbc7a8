"""Batches do not depend on workers, hosts and interruptions, and every held-out row counts once."""

import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from flax_lite.rows.recipe import PretrainingRecipe
from train.data.pretraining.loader import eval_batches, train_batches
from train.data.pretraining.rows import PairRows, held_out_rows

RECIPE = PretrainingRecipe(max_length=32, max_predictions=5)


@pytest.fixture(scope="module")
def rows(store, tokenizer_info):
    return PairRows(store, tokenizer_info, RECIPE, seed=0)


def _take(rows, batch_size, count, *args, **options):
    with train_batches(rows, batch_size, *args, **options) as batches:
        return list(itertools.islice(batches, count))


def _assert_equal(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            assert batch[name].dtype == other[name].dtype
            np.testing.assert_array_equal(batch[name], other[name])


@pytest.mark.compat
def test_train_batches_hold_the_rows_in_order(rows):
    batches = _take(rows, 4, 3)
    for step, batch in enumerate(batches):
        expected = rows.batch(range(4 * step, 4 * step + 4)) | {"row_weights": np.ones(4, np.float32)}
        _assert_equal([batch], [expected])


def test_train_batches_continue_into_the_next_epoch(rows):
    """The batch in which an epoch ends is a full one."""
    step = rows.epoch_size(0) // 64
    assert rows.epoch_size(0) % 64
    (batch,) = _take(rows, 64, 1, step)
    _assert_equal([batch], [rows.batch(range(64 * step, 64 * step + 64)) | {"row_weights": np.ones(64, np.float32)}])


@pytest.mark.compat
def test_train_batches_are_the_same_from_workers(rows):
    """Workers are new processes that receive the pickled rows, in a program that has not parsed absl flags.

    A batch stays valid after the next one and after its iterator is closed.
    """
    with train_batches(rows, 4, 3, workers=2) as batches:
        first = next(batches)
        copies = {name: array.copy() for name, array in first.items()}
        found = [first, *itertools.islice(batches, 6)]
    _assert_equal(found, _take(rows, 4, 7, 3))
    _assert_equal([first], [copies])
    assert all(type(array) is np.ndarray and array.flags.owndata for array in first.values())


@pytest.mark.compat
def test_train_batches_resume_at_any_step(rows):
    whole = _take(rows, 4, 10)
    for start in (0, 1, 7):
        _assert_equal(_take(rows, 4, 3, start), whole[start : start + 3])


def test_train_batches_report_their_position(rows):
    with train_batches(rows, 4, 5) as batches:
        assert batches.next_row == 20
        next(batches)
        assert batches.next_row == 24
    assert next(batches, None) is None
    batches.close()


@pytest.mark.parametrize("count", [2, 4])
def test_hosts_parts_make_up_the_batch(rows, store, tokenizer_info, count):
    held_out = held_out_rows(store, tokenizer_info, RECIPE, num_rows=10)
    parts = [_take(rows, 8, 2, 1, process_index=index, process_count=count) for index in range(count)]
    _assert_equal(_concatenated(parts), _take(rows, 8, 2, 1))
    parts = [list(eval_batches(held_out, 8, process_index=index, process_count=count)) for index in range(count)]
    _assert_equal(_concatenated(parts), list(eval_batches(held_out, 8)))


def _concatenated(parts):
    return [
        {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        for batches in zip(*parts, strict=True)
    ]


@pytest.mark.parametrize("batch_size", [1, 4, 5, 10, 16])
def test_eval_batches_count_every_row_once(store, tokenizer_info, batch_size):
    """Weighted sums equal sums over the rows for every batch size; shapes are those of training batches."""
    held_out = held_out_rows(store, tokenizer_info, RECIPE, num_rows=10)
    batches = list(eval_batches(held_out, batch_size))
    assert {batch["input_ids"].shape for batch in batches} == {(batch_size, 32)}
    weights = np.concatenate([batch["row_weights"] for batch in batches])
    np.testing.assert_array_equal(weights, np.arange(len(weights)) < 10)
    expected = held_out.batch(range(10))
    masked = np.concatenate([batch["masked_weights"] for batch in batches])
    assert not masked[10:].any()
    np.testing.assert_array_equal(masked[:10], expected["masked_weights"])
    joined = np.concatenate([batch["input_ids"] for batch in batches])
    np.testing.assert_array_equal(joined[:10], expected["input_ids"])
    attention = np.concatenate([batch["attention_mask"] for batch in batches])
    assert attention.any(axis=1).all()  # padding rows have tokens to attend to as well


def test_eval_batches_have_the_fields_of_training(rows, store, tokenizer_info):
    (train,) = _take(rows, 4, 1)
    evaluation = next(eval_batches(held_out_rows(store, tokenizer_info, RECIPE, num_rows=3), 4))
    kinds = [{name: (array.dtype, array.shape) for name, array in batch.items()} for batch in (train, evaluation)]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "a batch of 0 rows"),
        ({"batch_size": 6, "process_count": 4}, "a batch of 6 rows cannot be split evenly for host 0 of 4"),
        ({"batch_size": 4, "process_index": 2, "process_count": 2}, "host 2 of 2"),
        ({"batch_size": 4, "start_step": -1}, "start_step=-1"),
        ({"batch_size": 4, "workers": -1}, "workers=-1"),
        ({"batch_size": 4, "prefetch": 0}, "prefetch=0"),
    ],
)
def test_train_batches_raise_for_invalid_arguments(rows, options, message):
    with pytest.raises(ValueError, match=message):
        train_batches(rows, **options)


def test_data_modules_load_without_jax_and_grain(repository):
    """Workers import these modules at their start, and evaluation does not need Grain."""
    heavy = "{'jax', 'flax', 'grain', 'transformers'}"
    script = f"import sys, train.data.pretraining.loader; sys.exit(str({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


_JOB = """
import os, sys
from train.data.pretraining.loader import train_batches
from flax_lite.rows.recipe import PretrainingRecipe, TokenizerInfo
from train.data.pretraining.rows import PairRows
from train.data.tokens.store import open_store
import numpy as np

if __name__ == "__main__":
    store = open_store(sys.argv[1])
    ones = np.ones(store.vocab_size, bool)
    info = TokenizerInfo(
        vocab_size=store.vocab_size, pad_id=0, cls_id=2, sep_id=3, mask_id=4, is_maskable=ones, starts_word=ones
    )
    rows = PairRows(store, info, PretrainingRecipe(max_length=32, max_predictions=5), seed=0)
    with train_batches(rows, 4, workers=2) as batches:
        next(batches), next(batches)  # one from each worker
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(20):
            next(batches)
        print("done", flush=True)
        sys.stdin.readline()
"""


def _children(pid):
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in done.stdout.split()]


def alive(pid):
    """Returns whether a process is running; a zombie is not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def job(tmp_path, repository, store):
    """A program with two workers in a new process group, which waits for a line on standard input."""
    script = tmp_path / "job.py"
    script.write_text(_JOB)
    with subprocess.Popen(
        [sys.executable, str(script), str(store.directory)],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


def test_workers_ignore_signals_and_exit_with_their_job(job):
    """Ctrl-C and a service manager signal the whole process group. The job decides what to do and may need batches to
    finish its step, so its workers ignore the signal. When the job is killed, its workers notice and exit."""
    assert job.stdout.readline() == "ready\n"
    children = _children(job.pid)
    assert len(children) >= 2
    for child in children:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(child, number)
    job.stdin.write("go on\n")
    job.stdin.flush()
    assert job.stdout.readline() == "done\n"
    job.kill()
    job.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, children))
