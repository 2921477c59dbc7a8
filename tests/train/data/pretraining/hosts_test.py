"""The sequence of rows does not depend on the number of hosts and workers, also if it changes on resume."""

import functools
import hashlib
import itertools
import json
import operator
import os
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from flax_lite.rows.recipe import PretrainingRecipe, TokenizerInfo
from tests.train.commands import xla_flags
from train.data.pretraining.loader import train_batches
from train.data.pretraining.rows import make_rows
from train.data.tokens.store import open_store

RECIPES = {
    "pairs": PretrainingRecipe(rows="pairs", max_length=32, max_predictions=5),
    "packed": PretrainingRecipe(rows="packed", max_length=64, max_predictions=10, max_ngram=1, whole_word=False),
}
BATCH_SIZE = 8

# A host: appends a line per step with the step and a digest of each of its rows.
_HOST = """
import itertools, json, sys, time
from tests.train.data.pretraining.hosts_test import RECIPES, digests, open_rows
from train.data.pretraining.loader import train_batches

if __name__ == "__main__":
    directory, kind, start, workers, index, count, out = sys.argv[1:]
    rows = open_rows(directory, kind)
    options = {"workers": int(workers), "process_index": int(index), "process_count": int(count)}
    with open(out, "a") as file, train_batches(rows, 8, int(start), **options) as batches:
        for step in itertools.count(int(start)):
            file.write(json.dumps([step, digests(next(batches))]) + chr(10))
            file.flush()
            time.sleep(0.005)  # as a step would
"""


def open_rows(directory, kind):
    store = open_store(directory)
    every = np.ones(store.vocab_size, bool)
    info = TokenizerInfo(
        vocab_size=store.vocab_size, pad_id=0, cls_id=2, sep_id=3, mask_id=4, is_maskable=every, starts_word=every
    )
    return make_rows(store, info, RECIPES[kind], seed=0)


def digests(batch):
    """Returns a digest of each row over all its fields, ordered by name."""
    fields = [np.ascontiguousarray(batch[name]) for name in sorted(batch)]
    rows = (b"".join(field[row].tobytes() for field in fields) for row in range(len(fields[0])))
    return [hashlib.sha256(row).hexdigest() for row in rows]


def read(rows, first, count, **options):
    """Returns the digests of the rows of `count` steps."""
    with train_batches(rows, BATCH_SIZE, first, **options) as batches:
        return [digests(batch) for batch in itertools.islice(batches, count)]


def joined(parts):
    """Concatenates the parts of one batch from all hosts."""
    return functools.reduce(operator.add, parts)


@pytest.mark.parametrize(
    ("kind", "hosts", "workers"),
    [("pairs", 2, 0), ("pairs", 4, 0), ("packed", 4, 0), ("packed", 2, 1)],
)
def test_hosts_and_workers_read_the_same_global_batches(store, kind, hosts, workers):
    """Around the end of an epoch, where differing plans of the hosts would first show."""
    rows = open_rows(store.directory, kind)
    first = rows.epoch_size(0) // BATCH_SIZE - 1
    options = {"workers": workers, "process_count": hosts}
    parts = [read(rows, first, 4, process_index=index, **options) for index in range(hosts)]
    assert list(map(joined, zip(*parts, strict=True))) == read(rows, first, 4)


def test_killed_hosts_resume_in_any_number(store, repository, tmp_path):
    """Every host is killed at a random time. The run resumes from the last step that all of them have read, as from a
    checkpoint, with another number of hosts and workers. In total it reads the sequence of a single host."""
    kind, rng = "packed", random.Random(0)
    script = tmp_path / "host.py"
    script.write_text(_HOST)
    found = []
    for hosts, workers in ((2, 0), (1, 1)):
        outs = [tmp_path / f"{hosts}-{index}" for index in range(hosts)]
        _run_and_kill(script, repository, store, kind, len(found), workers, outs, rng)
        lines = [list(map(json.loads, out.read_text().rpartition("\n")[0].splitlines())) for out in outs]
        parts = list(zip(*lines, strict=False))  # of the steps that all hosts have read
        assert parts
        for number, part in enumerate(parts, len(found)):
            assert {step for step, _ in part} == {number}
        found += [joined(digest for _, digest in part) for part in parts]
    assert found == read(open_rows(store.directory, kind), 0, len(found))


# One of two hosts with two devices each: its part of a batch becomes its shards of one global array.
_GLOBAL = """
import sys
import jax
import numpy as np
from tests.train.data.pretraining.hosts_test import open_rows
from train.machine import mesh
from train.data.pretraining.loader import train_batches

if __name__ == "__main__":
    directory, port, index = sys.argv[1], sys.argv[2], int(sys.argv[3])
    jax.distributed.initialize(f"localhost:{port}", 2, index)
    rows = open_rows(directory, "packed")
    made = mesh.make_mesh(2, 2)
    with train_batches(rows, 8, 5, process_index=jax.process_index(), process_count=jax.process_count()) as batches:
        batch = mesh.put_batch(next(batches), made)
    whole = rows.batch(range(40, 48))
    for name, array in whole.items():
        assert batch[name].shape == array.shape
        assert len(batch[name].addressable_shards) == 2
        for shard in batch[name].addressable_shards:
            np.testing.assert_array_equal(shard.data, array[shard.index])
    print("equal")
"""


def test_hosts_parts_become_one_global_batch(store, repository, tmp_path):
    """With jax.distributed between two processes, every shard holds the rows of its index in the global batch."""
    script = tmp_path / "host.py"
    script.write_text(_GLOBAL)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(repository), "JAX_PLATFORMS": "cpu"}
    environment |= {"XLA_FLAGS": xla_flags(2)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(store.directory), str(port), str(index)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert output == "equal\n", errors


def _run_and_kill(script, repository, store, kind, step, workers, outs, rng):
    arguments = [str(store.directory), kind, str(step), str(workers)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), *arguments, str(index), str(len(outs)), str(out)],
            env={"PYTHONPATH": str(repository), "JAX_PLATFORMS": "cpu"},
        )
        for index, out in enumerate(outs)
    ]
    deadline = time.monotonic() + 120
    while not all(out.exists() and out.stat().st_size for out in outs):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.005)
    for process in rng.sample(processes, len(processes)):
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
