"""The tokenised corpus on disk: what it holds, what its key depends on, and that no accident leaves half of one."""

import contextlib
import copy
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from train.data.sources import CorpusOptions, open_corpus
from train.data.store import StoreDamagedError, build_store, default_cache_dir, open_store, token_counts
from train.errors import UserError


@pytest.fixture
def spoken():
    return []


@pytest.fixture
def short_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(f"Sentence {number}." for number in range(8)))
    return path


def _build(path, tokenizer, cache, say=lambda line: None, **options):
    corpus = open_corpus(CorpusOptions(source=f"text:{path}", **options), "train")
    return build_store(corpus, tokenizer, cache_dir=cache, say=say)


def _contents(store):
    """Documents as lists of sentences of ids."""
    sentences = [store.ids[start:end].tolist() for start, end in itertools.pairwise(store.sentence_offsets.tolist())]
    return [sentences[start:end] for start, end in itertools.pairwise(store.document_offsets.tolist())]


def test_store_holds_the_tokens_of_every_sentence(store, documents, tokenizer):
    assert _contents(store) == [tokenizer.encode(document) for document in documents]
    assert store.counts["documents"] == len(documents)
    assert store.counts["sentences"] == sum(map(len, documents))
    assert store.counts["tokens"] == len(store.ids)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.int32)])
def test_store_takes_two_bytes_a_token_where_they_suffice(vocab_size, dtype, tmp_path, tokenizer):
    class Large(type(tokenizer)):
        def encode(self, texts):
            return [[self.vocab_size - 1] for _ in texts]

    path = tmp_path / "a.txt"
    path.write_text("one\n")
    store = _build(path, Large(vocab_size), tmp_path / "cache")
    assert store.ids.dtype == dtype
    assert store.ids.tolist() == [vocab_size - 1]


def test_store_in_many_batches_is_the_same(tmp_path, corpus_file, tokenizer, store, monkeypatch):
    monkeypatch.setattr("train.data.store._SENTENCES_PER_BATCH", 7)
    assert _contents(_build(corpus_file, tokenizer, tmp_path)) == _contents(store)


def test_store_is_tokenised_once(tmp_path, corpus_file, tokenizer, spoken):
    first = _build(corpus_file, tokenizer, tmp_path, spoken.append)
    encoded, lines = tokenizer.encoded, len(spoken)
    os.utime(corpus_file)
    second = _build(corpus_file, tokenizer, tmp_path, spoken.append)
    assert (tokenizer.encoded, len(spoken)) == (encoded, lines)
    assert second.fingerprint == first.fingerprint
    assert lines == 2
    assert f"{first.counts['tokens']:,} tokens" in spoken[-1]


def test_store_key_follows_its_inputs(tmp_path, tokenizer):
    """Another text, tokenizer, share or way of cutting is another store; another place of the same text is not."""
    path = tmp_path / "a.txt"
    path.write_text("One two. Three.\n\nFour.\n\nFive.\n\nSix.\n")
    moved = tmp_path / "b.txt"
    moved.write_bytes(path.read_bytes())
    other = copy.copy(tokenizer)
    other.fingerprint = "other"
    keys = [
        _build(path, tokenizer, tmp_path / "cache").fingerprint,
        _build(path, other, tmp_path / "cache").fingerprint,
        _build(path, tokenizer, tmp_path / "cache", split_paragraphs=False).fingerprint,
        _build(path, tokenizer, tmp_path / "cache", eval_fraction=0.1).fingerprint,
    ]
    assert _build(moved, tokenizer, tmp_path / "cache").fingerprint == keys[0]
    path.write_text("One two. Three.\n\nFour.\n\nFive.\n\nSax.\n")  # same size
    keys.append(_build(path, tokenizer, tmp_path / "cache").fingerprint)
    assert len(set(keys)) == len(keys)


def test_store_rereads_large_files_only_when_touched(tmp_path, tokenizer, monkeypatch):
    """The remembered hash stands for path, size and time of change: same contents, same store."""
    monkeypatch.setattr("train.data.files._REMEMBER_FROM_BYTES", 0)
    path = tmp_path / "a.txt"
    path.write_text("One.")
    first = _build(path, tokenizer, tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr("train.data.files._hash", None)
        assert _build(path, tokenizer, tmp_path / "cache").fingerprint == first.fingerprint
    os.utime(path, ns=(1, 1))
    assert _build(path, tokenizer, tmp_path / "cache").fingerprint == first.fingerprint
    other = tmp_path / "b.txt"
    for changed in (path, other):
        changed.write_text("Two.")
        os.utime(changed, ns=(1, 1 + (changed == path)))
        assert _build(changed, tokenizer, tmp_path / "cache").fingerprint != first.fingerprint
    other.write_text("Two and more.")
    os.utime(other, ns=(1, 1))
    assert _build(other, tokenizer, tmp_path / "cache").counts["tokens"] == 1 + 1 + 2


def test_store_leaves_out_what_has_no_token(tmp_path, tokenizer):
    class Silent(type(tokenizer)):
        def encode(self, texts):
            return [[] if "silent" in text else ids for text, ids in zip(texts, super().encode(texts), strict=True)]

    path = tmp_path / "a.txt"
    path.write_text("silent\n\none\nsilent\ntwo\n\nsilent\nsilent\n\nthree\n")
    silent = Silent()
    store = _build(path, silent, tmp_path / "cache")
    assert _contents(store) == [silent.encode(["one", "two"]), silent.encode(["three"])]
    assert store.counts["empty_sentences_skipped"] == 4
    path.write_text("silent\n")
    with pytest.raises(UserError, match="no token"):
        _build(path, silent, tmp_path / "cache")


def test_store_reaches_another_process(store):
    """What a worker gets is the directory; it opens the files itself."""
    again = copy.deepcopy(store)
    assert again.ids is not store.ids
    assert not again.ids.flags.owndata
    assert _contents(again) == _contents(store)


@pytest.mark.parametrize("name", ["ids.npy", "sentence_offsets.npy", "document_offsets.npy", "manifest.json"])
@pytest.mark.parametrize("accident", ["truncated", "missing", "longer"])
def test_damaged_store_is_built_again_aloud(name, accident, tmp_path, short_text, tokenizer, spoken):
    store = _build(short_text, tokenizer, tmp_path / "cache")
    expected = _contents(store)
    path = store.directory / name
    contents = path.read_bytes()
    path.unlink()
    if accident != "missing":
        path.write_bytes(contents[:-10] if accident == "truncated" else contents + b"x")
    with pytest.raises(StoreDamagedError):
        open_store(store.directory)
    again = _build(short_text, tokenizer, tmp_path / "cache", spoken.append)
    assert str(store.directory) in spoken[0]
    assert "damaged" in spoken[0]
    assert _contents(again) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 0},
        {"counts": {"tokens": 1, "sentences": 1, "documents": 1}},
        {"arrays": {}},
        {"vocab_size": None},
    ],
)
def test_store_that_does_not_fit_its_manifest_is_refused(change, tmp_path, short_text, tokenizer):
    path = _build(short_text, tokenizer, tmp_path / "cache").directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StoreDamagedError):
        open_store(path.parent)


# A tokenizer that takes its time, in a process of its own; the first sentence starts the clock of the test.
_SLOW_BUILD = """
import sys, time
from train.data.sources import CorpusOptions, open_corpus
from train.data.store import build_store
import train.data.store
train.data.store._SENTENCES_PER_BATCH = 1

class Tokenizer:
    vocab_size, fingerprint = 300, "slow"
    def encode(self, texts):
        print("encoding", flush=True)
        time.sleep({pause})
        return [list(text.encode()) for text in texts]

corpus = open_corpus(CorpusOptions(source="text:{source}"), "train")
store = build_store(corpus, Tokenizer(), cache_dir="{cache}", say=lambda line: print(line, flush=True))
print("counts", store.counts["tokens"], store.fingerprint, flush=True)
"""


@contextlib.contextmanager
def _slow_build(repository, source, cache, pause):
    script = _SLOW_BUILD.format(source=source, cache=cache, pause=pause)
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        yield process
        process.kill()


def _leftovers(cache):
    return list(Path(cache, "tokens").glob("*staging*"))


def test_killed_build_leaves_nothing_that_is_used(repository, short_text, tmp_path):
    """Killed amid its work it leaves its staging directory; the next build removes that and builds the whole."""
    cache = tmp_path / "cache"
    with _slow_build(repository, short_text, cache, pause=60) as process:
        assert any(line == "encoding\n" for line in process.stdout)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(_leftovers(cache)) == 1
    with _slow_build(repository, short_text, cache, pause=0) as process:
        output, _ = process.communicate(timeout=60)
    assert f"counts {len('Sentence 0.') * 8} " in output, output
    assert not _leftovers(cache)


def test_concurrent_builds_share_one_store(repository, short_text, tmp_path):
    """The second waits for the first and tokenises nothing."""
    cache = tmp_path / "cache"
    with _slow_build(repository, short_text, cache, pause=0.5) as first:
        assert any(line == "encoding\n" for line in first.stdout)
        with _slow_build(repository, short_text, cache, pause=0.5) as second:
            (ours, _), (theirs, _) = first.communicate(timeout=60), second.communicate(timeout=60)
    assert "Waiting for another process" in theirs
    assert "encoding" not in theirs
    assert ours.splitlines()[-1] == theirs.splitlines()[-1]
    assert ours.splitlines()[-1].startswith("counts 88 ")
    assert not _leftovers(cache)


def test_failed_build_leaves_nothing(tmp_path, corpus_file, tokenizer):
    class Failing(type(tokenizer)):
        def encode(self, texts):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        _build(corpus_file, Failing(), tmp_path)
    assert not _leftovers(tmp_path)


def test_cache_that_cannot_be_written_is_the_users_to_mend(tmp_path, corpus_file, tokenizer):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="FLAX_LITE_CACHE") as caught:
        _build(corpus_file, tokenizer, tmp_path / "file" / "cache")
    assert str(tmp_path / "file" / "cache") in str(caught.value)


def test_token_counts_counts(store, monkeypatch):
    monkeypatch.setattr("train.data.store._COUNTED_AT_ONCE", 1000)
    expected = np.zeros(store.vocab_size, int)
    for token in store.ids.tolist():
        expected[token] += 1
    np.testing.assert_array_equal(token_counts(store), expected)


def test_default_cache_dir_follows_the_environment(monkeypatch):
    monkeypatch.delenv("FLAX_LITE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_cache_dir() == Path("/home/somebody/.cache/flax_lite")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_dir() == Path("/xdg/flax_lite")
    monkeypatch.setenv("FLAX_LITE_CACHE", "~/mine")
    assert default_cache_dir() == Path("/home/somebody/mine")
