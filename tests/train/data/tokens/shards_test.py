"""Token shards: round trips, random access, and errors for damaged records."""

import copy
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest

from train.data.tokens.shards import RECORD_TOKENS, ShardedTokens, ShardError, ShardWriter, TokenBlock, scan_shard

UINT16 = np.dtype(np.uint16)


def block_of(rng, documents, longest=600, dtype=UINT16):
    """Returns documents of one to five sentences of up to `longest` tokens."""
    sizes = [rng.integers(1, longest, rng.integers(1, 6)) for _ in range(documents)]
    lengths = np.concatenate(sizes)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    firsts = np.concatenate([[0], np.cumsum([len(size) for size in sizes])])[:-1]
    ids = rng.integers(0, np.iinfo(dtype).max, starts[-1]).astype(dtype)
    return TokenBlock(ids, starts[:-1], starts[firsts])


def write(path, blocks, dtype=UINT16):
    writer = ShardWriter(path, dtype)
    for block in blocks:
        writer.append(block)
    writer.close()
    return path.name, writer.tokens


@pytest.fixture
def shards(tmp_path):
    """Three shards and all their tokens; the last record of each is shorter, and one shard has a single record."""
    rng = np.random.default_rng(0)
    blocks = [[block_of(rng, 9), block_of(rng, 4)], [block_of(rng, 1, 100)], [block_of(rng, 20)]]
    names = [write(tmp_path / f"{number}.array_record", part) for number, part in enumerate(blocks)]
    return ShardedTokens(tmp_path, names, UINT16), np.concatenate([block.ids for part in blocks for block in part])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_shard_round_trips_tokens_and_boundaries(tmp_path, dtype):
    """Records split the appended blocks at any token and keep all boundaries."""
    rng = np.random.default_rng(1)
    blocks = [block_of(rng, 7, dtype=np.dtype(dtype)) for _ in range(5)]
    _, tokens = write(tmp_path / "a", blocks, np.dtype(dtype))
    records = list(scan_shard(tmp_path / "a", tokens, np.dtype(dtype)))
    assert [len(record.ids) for record in records[:-1]] == [RECORD_TOKENS] * (len(records) - 1)
    for whole, parts in zip(_joined(blocks), _joined(records), strict=True):
        np.testing.assert_array_equal(whole, parts)
    assert records[0].ids.dtype == dtype


def _joined(blocks):
    before = np.cumsum([0, *(len(block.ids) for block in blocks)])
    ids = np.concatenate([block.ids for block in blocks])
    return ids, *(
        np.concatenate([block[place] + start for block, start in zip(blocks, before, strict=False)]) for place in (1, 2)
    )


def test_tokens_are_read_from_anywhere(shards):
    tokens, expected = shards
    assert len(tokens) == len(expected)
    np.testing.assert_array_equal(tokens[:], expected)
    rng = np.random.default_rng(2)
    for first, length in zip(rng.integers(0, len(expected), 300), rng.integers(0, 3000, 300), strict=True):
        np.testing.assert_array_equal(tokens[first : first + length], expected[first : first + length])
    assert tokens[5:5].dtype == np.uint16
    with pytest.raises(IndexError, match="has step 1, got 2"):
        tokens[::2]


def test_tokens_can_be_copied_and_shared_by_threads(shards):
    """A reader has one position: without the lock, threads would read each other's records."""
    tokens, expected = shards
    again = copy.deepcopy(tokens)
    wrong = []

    def check(seed):
        for first in np.random.default_rng(seed).integers(0, len(expected) - 500, 400):
            if not np.array_equal(again[first : first + 500], expected[first : first + 500]):
                wrong.append(first)

    threads = [threading.Thread(target=check, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_few_shards_are_open_at_once(tmp_path, monkeypatch):
    """There may be more shards than a process may open files."""
    rng = np.random.default_rng(3)
    blocks = [block_of(rng, 1, 50) for _ in range(40)]
    names = [write(tmp_path / str(number), [block]) for number, block in enumerate(blocks)]
    monkeypatch.setattr("train.data.tokens.shards._READERS_KEPT", 4)
    monkeypatch.setattr("train.data.tokens.shards._RECORDS_KEPT", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    tokens = ShardedTokens(tmp_path, names, UINT16)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_open_files() + 20, hard))
    try:
        for _ in range(2):
            np.testing.assert_array_equal(tokens[:], np.concatenate([block.ids for block in blocks]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _open_files():
    import os

    return max(map(int, os.listdir("/proc/self/fd")))


@pytest.mark.parametrize("accident", ["flipped", "truncated", "emptied", "missing", "zeros", "foreign"])
def test_damage_is_named_with_file_and_record(tmp_path, accident):
    """Reading the damaged part of a shard raises, and never returns wrong tokens."""
    rng = np.random.default_rng(4)
    block = block_of(rng, 30)
    path = tmp_path / "a.array_record"
    names = [write(path, [block])]
    data = path.read_bytes()
    middle = len(data) // 3  # the second half is ArrayRecord's own index
    damaged = {
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "truncated": data[:middle],
        "emptied": b"",
        "missing": None,
        "zeros": bytes(len(data)),
        "foreign": b"no shard at all" * 100,
    }[accident]
    path.unlink() if damaged is None else path.write_bytes(damaged)
    tokens = ShardedTokens(tmp_path, names, UINT16)
    with pytest.raises(ShardError, match=r"a\.array_record") as caught:
        _ = tokens[:]
    assert f"remove {tmp_path}" in str(caught.value)
    if accident == "flipped":
        assert "record " in str(caught.value)
        readable = 0
        for first in range(0, len(block.ids), RECORD_TOKENS):
            try:
                found = tokens[first : first + RECORD_TOKENS]
            except ShardError:
                continue
            np.testing.assert_array_equal(found, block.ids[first : first + RECORD_TOKENS])
            readable += 1
        assert readable == -(-len(block.ids) // RECORD_TOKENS) - 1
    with pytest.raises(ShardError, match=r"a\.array_record"):
        list(scan_shard(path, len(block.ids), UINT16))


def test_record_of_another_kind_raises(tmp_path):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(tmp_path / "a"), "group_size:1")
    writer.write(b"some text")
    writer.close()
    with pytest.raises(ShardError, match="not a block of tokens"):
        _ = ShardedTokens(tmp_path, [("a", 100)], UINT16)[:]


_FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from train.data.tokens.shards import ShardWriter, TokenBlock

resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY))
writer = ShardWriter(Path(sys.argv[1]), np.dtype(np.uint16))
ids = np.random.default_rng(0).integers(0, 2**16, 10**6).astype(np.uint16)
try:
    writer.append(TokenBlock(ids, np.zeros(1, int), np.zeros(1, int)))
    writer.close()
except OSError as error:
    print("OSError", error)
"""


def test_full_disk_is_an_os_error(tmp_path, repository):
    """A limit on the size of files simulates a full disk."""
    path = tmp_path / "a"
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(path)], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("OSError"), done.stdout + done.stderr
    assert str(path) in done.stdout
    with pytest.raises(ShardError):
        list(scan_shard(path, 10**6, UINT16))
    with pytest.raises(OSError, match="nowhere"):
        ShardWriter(tmp_path / "nowhere" / "a", UINT16)
