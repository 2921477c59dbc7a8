"""Opening a tokenized corpus: its contents, and errors for damaged files."""

import copy
import itertools
import json
import pickle

import numpy as np
import pytest

from train.data.sources import CorpusOptions, open_corpus
from train.data.tokens.preparation import build_store
from train.data.tokens.store import StoreDamagedError, open_store


@pytest.fixture
def made(tmp_path, tokenizer):
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(f"Sentence {number}. And more." for number in range(8)))
    corpus = open_corpus(CorpusOptions(source=f"text:{path}"), "train")
    return build_store(corpus, tokenizer, cache_dir=tmp_path / "cache", log=lambda line: None)


def contents(store):
    """Returns documents as lists of sentences of ids."""
    sentences = [store.ids[start:end].tolist() for start, end in itertools.pairwise(store.sentence_offsets.tolist())]
    return [sentences[start:end] for start, end in itertools.pairwise(store.document_offsets.tolist())]


def test_store_holds_the_tokens_of_every_sentence(store, documents, tokenizer):
    assert contents(store) == [tokenizer.encode(document) for document in documents]
    assert store.counts["documents"] == len(documents)
    assert store.counts["sentences"] == sum(map(len, documents))
    assert store.counts["tokens"] == len(store.ids)


def test_store_counts_its_ids(store):
    np.testing.assert_array_equal(store.token_counts, np.bincount(store.ids[:], minlength=store.vocab_size))


def test_store_reaches_another_process(store):
    """A pickled store is its directory, whose files another process opens again."""
    assert len(pickle.dumps(store)) < 1000
    again = copy.deepcopy(store)
    assert again.ids is not store.ids
    assert contents(again) == contents(store)


def test_manifest_names_sources_tokenizer_counts_and_versions(made, tokenizer, tmp_path):
    manifest = json.loads((made.directory / "manifest.json").read_text())
    assert manifest["source_files"] == [str(tmp_path / "a.txt")]
    assert manifest["inputs"]["tokenizer"] == tokenizer.fingerprint
    assert manifest["counts"]["documents"] == 8
    assert {"python", "numpy", "tokenizers", "array-record"} <= manifest["versions"].keys()


@pytest.mark.parametrize(
    "name", ["shard-00000.array_record", "sentence_offsets.npy", "document_offsets.npy", "token_counts.npy"]
)
@pytest.mark.parametrize("accident", ["truncated", "missing", "longer"])
def test_store_with_a_damaged_file_raises(made, name, accident):
    path = made.directory / name
    whole = path.read_bytes()
    path.unlink()
    if accident != "missing":
        path.write_bytes(whole[:-10] if accident == "truncated" else whole + b"x")
    with pytest.raises(StoreDamagedError, match=name.partition(".")[0]):
        open_store(made.directory)


def test_store_with_a_changed_index_raises(made):
    """Size and format are unchanged, so only the hash shows the change."""
    path = made.directory / "sentence_offsets.npy"
    changed = np.load(path)
    changed[1] += 1
    np.save(path, changed)
    with pytest.raises(StoreDamagedError, match="does not have the hash of the manifest"):
        open_store(made.directory)


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 1},
        {"counts": {"tokens": 1, "sentences": 1, "documents": 1}},
        {"shards": {}},
        {"shards": None},
        {"index": {}},
        {"vocab_size": None},
        {"dtype": "nothing"},
    ],
)
def test_store_that_does_not_match_its_manifest_raises(made, change):
    path = made.directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StoreDamagedError):
        open_store(made.directory)
