"""Tokenizing a corpus: once, independent of the number of processes, and unchanged by interrupts and damage."""

import contextlib
import copy
import filecmp
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from flax_lite.tokenization import train_tokenizer
from tests.train.data.tokens.store_test import contents
from train.data.sources import CorpusOptions, open_corpus
from train.data.tokens.preparation import build_store
from train.errors import UserError
from train.machine.files import default_cache_dir


@pytest.fixture
def messages():
    return []


@pytest.fixture
def short_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(f"Sentence {number}." for number in range(8)))
    return path


def build(path, tokenizer, cache, log=lambda line: None, workers=None, **options):
    corpus = open_corpus(CorpusOptions(source=f"text:{path}", **options), "train")
    return build_store(corpus, tokenizer, cache_dir=cache, log=log, workers=workers)


def assert_same_files(one, other):
    comparison = filecmp.dircmp(one, other, ignore=[])
    assert not comparison.left_only + comparison.right_only
    _, different, failed = filecmp.cmpfiles(one, other, comparison.common_files, shallow=False)
    assert not different + failed


@pytest.fixture
def small_steps(monkeypatch):
    """Splits a small corpus into many blocks and shards."""
    monkeypatch.setattr("train.data.tokens.tokenizing._BLOCK_CHARACTERS", 2000)
    monkeypatch.setattr("train.data.tokens.preparation._SHARD_TOKENS", 3000)


def test_store_is_the_same_from_any_number_of_processes(tmp_path, documents, corpus_file, small_steps):
    """Files are equal byte for byte: the text determines blocks and shards, and results keep their order."""
    trained = train_tokenizer((line for document in documents for line in document), "wordpiece", 500)
    store = build(corpus_file, trained, tmp_path / "cache", workers=3)
    assert len(store.manifest["shards"]) > 10
    assert contents(store) == [trained.encode(document) for document in documents]
    assert_same_files(store.directory, build(corpus_file, trained, tmp_path / "other", workers=1).directory)


def test_store_in_many_blocks_and_shards_holds_the_same(tmp_path, corpus_file, tokenizer, store, small_steps):
    assert contents(build(corpus_file, tokenizer, tmp_path, workers=1)) == contents(store)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, "uint16"), (2**16 + 1, "int32")])
def test_store_takes_two_bytes_a_token_where_they_suffice(vocab_size, dtype, tmp_path, tokenizer):
    class Large(type(tokenizer)):
        def encode(self, texts):
            return [[self.vocab_size - 1] for _ in texts]

    path = tmp_path / "a.txt"
    path.write_text("one\n")
    store = build(path, Large(vocab_size), tmp_path / "cache")
    assert store.ids[:].dtype == dtype
    assert store.ids[:].tolist() == [vocab_size - 1]


def test_store_is_tokenized_once(tmp_path, corpus_file, tokenizer, messages):
    first = build(corpus_file, tokenizer, tmp_path, messages.append)
    encoded, lines = tokenizer.encoded, len(messages)
    os.utime(corpus_file)
    second = build(corpus_file, tokenizer, tmp_path, messages.append)
    assert (tokenizer.encoded, len(messages)) == (encoded, lines)
    assert second.fingerprint == first.fingerprint
    assert lines == 2
    assert f"{first.counts['tokens']:,} tokens" in messages[-1]


def test_store_key_follows_its_inputs(tmp_path, tokenizer):
    """Text, tokenizer, share and splitting determine the key; the path of the text does not."""
    path = tmp_path / "a.txt"
    path.write_text("One two. Three.\n\nFour.\n\nFive.\n\nSix.\n")
    moved = tmp_path / "b.txt"
    moved.write_bytes(path.read_bytes())
    other = copy.copy(tokenizer)
    other.fingerprint = "other"
    keys = [
        build(path, tokenizer, tmp_path / "cache").fingerprint,
        build(path, other, tmp_path / "cache").fingerprint,
        build(path, tokenizer, tmp_path / "cache", split_paragraphs=False).fingerprint,
        build(path, tokenizer, tmp_path / "cache", eval_fraction=0.1).fingerprint,
    ]
    assert build(moved, tokenizer, tmp_path / "cache").fingerprint == keys[0]
    path.write_text("One two. Three.\n\nFour.\n\nFive.\n\nSax.\n")  # same size
    keys.append(build(path, tokenizer, tmp_path / "cache").fingerprint)
    assert len(set(keys)) == len(keys)


def test_store_rereads_large_files_only_when_touched(tmp_path, tokenizer, monkeypatch):
    """The cached hash of a file is valid for its path, size and modification time."""
    monkeypatch.setattr("train.machine.files._CACHED_FROM_BYTES", 0)
    path = tmp_path / "a.txt"
    path.write_text("One.")
    first = build(path, tokenizer, tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr("train.machine.files.hash_file", None)
        assert build(path, tokenizer, tmp_path / "cache").fingerprint == first.fingerprint
    os.utime(path, ns=(1, 1))
    assert build(path, tokenizer, tmp_path / "cache").fingerprint == first.fingerprint
    other = tmp_path / "b.txt"
    for changed in (path, other):
        changed.write_text("Two.")
        os.utime(changed, ns=(1, 1 + (changed == path)))
        assert build(changed, tokenizer, tmp_path / "cache").fingerprint != first.fingerprint
    other.write_text("Two and more.")
    os.utime(other, ns=(1, 1))
    assert build(other, tokenizer, tmp_path / "cache").counts["tokens"] == 1 + 1 + 2


def test_store_skips_sentences_and_documents_without_tokens(tmp_path, tokenizer):
    class Silent(type(tokenizer)):
        def encode(self, texts):
            return [[] if "silent" in text else ids for text, ids in zip(texts, super().encode(texts), strict=True)]

    path = tmp_path / "a.txt"
    path.write_text("silent\n\none\nsilent\ntwo\n\nsilent\nsilent\n\nthree\n\nsilent\n")
    silent = Silent()
    store = build(path, silent, tmp_path / "cache")
    assert contents(store) == [silent.encode(["one", "two"]), silent.encode(["three"])]
    assert store.counts["empty_sentences_skipped"] == 5
    path.write_text("silent\n")
    with pytest.raises(UserError, match="no token"):
        build(path, silent, tmp_path / "cache")
    assert not leftovers(tmp_path / "cache")


def test_progress_reports_the_share_of_the_text(tmp_path, corpus_file, tokenizer, messages, small_steps, monkeypatch):
    monkeypatch.setattr("train.data.tokens.preparation._LOG_EVERY_SECONDS", 0.0)
    build(corpus_file, tokenizer, tmp_path, messages.append, workers=1)
    shares = [int(line.partition("about ")[2].partition("%")[0]) for line in messages if "about " in line]
    assert len(shares) > 10
    assert shares == sorted(shares)
    assert shares[0] < 10
    assert shares[-1] > 95


@pytest.mark.parametrize("name", ["shard-00000.array_record", "sentence_offsets.npy", "manifest.json"])
def test_damaged_store_is_built_again_and_logged(name, tmp_path, short_text, tokenizer, messages):
    store = build(short_text, tokenizer, tmp_path / "cache")
    expected = contents(store)
    path = store.directory / name
    path.write_bytes(path.read_bytes()[:-10])
    again = build(short_text, tokenizer, tmp_path / "cache", messages.append)
    assert str(store.directory) in messages[0]
    assert "damaged" in messages[0]
    assert contents(again) == expected


class Bytes:
    """A tokenizer of bytes that counts the blocks it encodes."""

    vocab_size, fingerprint = 300, "bytes"

    def __init__(self):
        self.blocks = 0

    def encode(self, texts):
        self.blocks += 1
        return [list(text.encode()) for text in texts]


# A build with that tokenizer in another process, which can be killed: one sentence per block, two per shard.
_SLOW_BUILD = """
import sys, time
import train.data.tokens.preparation, train.data.tokens.tokenizing
from train.data.sources import CorpusOptions, open_corpus
from train.errors import UserError
train.data.tokens.preparation._SHARD_TOKENS = 20
train.data.tokens.tokenizing._BLOCK_CHARACTERS = 1

class Tokenizer:
    vocab_size, fingerprint = 300, "bytes"
    def encode(self, texts):
        print("encoding", flush=True)
        time.sleep({pause})
        return [list(text.encode()) for text in texts]

corpus = open_corpus(CorpusOptions(source="text:{source}"), "train")
store = train.data.tokens.preparation.build_store(
    corpus, Tokenizer(), cache_dir="{cache}", log=lambda line: print(line, flush=True), workers=1
)
print("counts", store.counts["tokens"], store.directory, flush=True)
"""


@contextlib.contextmanager
def slow_build(repository, source, cache, pause):
    script = _SLOW_BUILD.format(source=source, cache=cache, pause=pause)
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        yield process
        process.kill()


def leftovers(cache):
    return list(Path(cache, "tokens").glob("*.partial"))


class Whole(NamedTuple):
    log: str
    blocks: int
    directory: Path


def whole(source, cache):
    """Runs the same build in this process, and returns its log, the number of blocks encoded, and its directory."""
    log, tokenizer = [], Bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.data.tokens.preparation._SHARD_TOKENS", 20)
        patch.setattr("train.data.tokens.tokenizing._BLOCK_CHARACTERS", 1)
        store = build(source, tokenizer, cache, log.append, workers=1)
    assert not leftovers(cache)
    return Whole("\n".join(log), tokenizer.blocks, store.directory)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    source = directory / "a.txt"
    source.write_text("\n\n".join(f"Sentence {number}." for number in range(20)))
    return source, whole(source, directory / "cache").directory


def test_killed_build_resumes_after_its_last_complete_shard(repository, undisturbed, tmp_path):
    """The build is killed three times at random. A partial result never has the name of a complete one, the next build
    keeps finished shards, and the result equals that of an uninterrupted build byte for byte."""
    source, expected = undisturbed
    cache, rng = tmp_path / "cache", random.Random(0)
    for _ in range(3):
        with slow_build(repository, source, cache, pause=0.05) as process:
            assert any(line == "encoding\n" for line in process.stdout)
            time.sleep(rng.uniform(0, 0.25))
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert len(leftovers(cache)) == 1
        assert not [path for path in Path(cache, "tokens").iterdir() if path.is_dir() and path not in leftovers(cache)]
    finished = len((leftovers(cache)[0] / "progress.jsonl").read_text().splitlines())
    found = whole(source, cache)
    assert found.blocks <= 20 - 2 * finished
    assert_same_files(found.directory, expected)


@pytest.fixture(scope="module")
def interrupted(repository, undisturbed, tmp_path_factory):
    """The cache of a build that was killed after its third shard."""
    cache = tmp_path_factory.mktemp("interrupted") / "cache"
    with slow_build(repository, undisturbed[0], cache, pause=0.02) as process:
        assert sum(1 for _, line in zip(range(11), iter(process.stdout.readline, ""), strict=False) if line) == 11
        process.kill()
        process.wait()
    return cache


@pytest.mark.parametrize(
    "accident", ["damaged shard", "missing shard", "torn progress", "foreign progress", "no progress"]
)
def test_damaged_partial_results_are_built_again(undisturbed, interrupted, tmp_path, accident):
    source, expected = undisturbed
    cache = shutil.copytree(interrupted, tmp_path / "cache")
    (partial,) = leftovers(cache)
    lines = (partial / "progress.jsonl").read_text()
    assert lines.count("\n") >= 3
    shard = partial / "shard-00001.array_record"
    if accident == "damaged shard":
        data = bytearray(shard.read_bytes())
        data[110] ^= 1  # after the headers of file and record, 64 and 40 bytes
        shard.write_bytes(data)
    elif accident == "missing shard":
        shard.unlink()
    else:
        changed = {"torn progress": lines[:-20], "foreign progress": "[1]\n" + lines, "no progress": ""}[accident]
        (partial / "progress.jsonl").write_text(changed)
    found = whole(source, cache)
    assert_same_files(found.directory, expected)
    if accident.endswith("shard"):
        assert "shard-00001" in found.log


def test_concurrent_builds_share_one_store(repository, undisturbed, tmp_path):
    """The second build waits for the first and tokenizes nothing."""
    source, _ = undisturbed
    cache = tmp_path / "cache"
    with slow_build(repository, source, cache, pause=0.1) as first:
        assert any(line == "encoding\n" for line in first.stdout)
        second = whole(source, cache)
        output, _ = first.communicate(timeout=60)
    assert "Waiting for another process" in second.log
    assert second.blocks == 0
    assert output.splitlines()[-1].startswith("counts ")
    assert output.splitlines()[-1].endswith(f" {second.directory}")


_LIMIT_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY))\n"


# ArrayRecord pads files to a multiple of 64 KiB, at least two of them. With a limit of 100 bytes, not even the index
# can be closed, which must not hide the first error.
@pytest.mark.parametrize(("limit", "finished"), [(140_000, 4), (100, 0)])
def test_full_disk_keeps_finished_shards(repository, tmp_path, limit, finished):
    """A limit on the size of files simulates a full disk: the write of the shard that exceeds it fails. The message
    names the file, no complete store exists, and without the limit the build resumes after the finished shards."""
    source, cache = tmp_path / "a.txt", tmp_path / "cache"
    random_text = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=200_000))
    source.write_text("\n\n".join([*(f"Sentence {number}." for number in range(8)), random_text, "The end."]))
    script = _SLOW_BUILD.format(source=source, cache=cache, pause=0)
    script = script.replace("corpus = ", _LIMIT_FILES.format(limit) + "corpus = ")
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=False)
    assert "UserError" in done.stderr
    assert "File too large" in done.stderr
    assert f"shard-{finished:05}.array_record" in done.stderr
    assert "the same command resumes after them" in done.stderr
    (partial,) = leftovers(cache)
    assert (partial / "progress.jsonl").read_text().count("\n") == finished
    found = whole(source, cache)
    assert ("Resuming" in found.log) == bool(finished)
    assert found.blocks == 10 - 2 * finished
    assert_same_files(found.directory, whole(source, tmp_path / "other").directory)


def test_text_that_changes_while_it_is_read_raises(tmp_path, short_text, tokenizer):
    """The text read may be neither the old nor the new one."""

    class Meddling(type(tokenizer)):
        def encode(self, texts):
            short_text.write_text("Something else.")
            return super().encode(texts)

    with pytest.raises(UserError, match="changed while it was read"):
        build(short_text, Meddling(), tmp_path / "cache")
    assert not leftovers(tmp_path / "cache")


def test_unwritable_cache_raises_a_user_error(tmp_path, corpus_file, tokenizer):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="FLAX_LITE_CACHE") as caught:
        build(corpus_file, tokenizer, tmp_path / "file" / "cache")
    assert str(tmp_path / "file" / "cache") in str(caught.value)


def test_default_cache_dir_follows_the_environment(monkeypatch):
    monkeypatch.delenv("FLAX_LITE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_cache_dir() == Path("/home/somebody/.cache/flax_lite")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_dir() == Path("/xdg/flax_lite")
    monkeypatch.setenv("FLAX_LITE_CACHE", "~/mine")
    assert default_cache_dir() == Path("/home/somebody/mine")


def test_manifest_and_progress_are_json(store):
    assert json.loads((store.directory / "manifest.json").read_text())["key"] == store.fingerprint
    assert not (store.directory / "progress.jsonl").exists()
