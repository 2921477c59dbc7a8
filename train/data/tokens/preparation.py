"""Tokenizes a corpus into the cache, once; an interrupted build resumes after its last complete shard."""

import contextlib
import itertools
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.data.sources import Corpus, Document
from train.data.tokens.cache import cache_key, cache_root, corpus_inputs
from train.data.tokens.index import IndexWriter
from train.data.tokens.shards import ShardError, ShardWriter, scan_shard
from train.data.tokens.store import FORMAT_VERSION, INDEX, StoreDamagedError, TokenStore, describe_array, open_store
from train.data.tokens.tokenizing import id_dtype, tokenize_corpus
from train.errors import UserError
from train.machine.files import exclusive_lock, write_durably

if TYPE_CHECKING:
    from flax_lite.tokenization import Tokenizer

# 32 MB before compression. Two cores tokenize 0.87 million tokens per second, so an interrupt loses at most 20 s of
# work. English Wikipedia (4.5 billion tokens) takes 270 files.
_SHARD_TOKENS = 2**24
_PROGRESS = "progress.jsonl"
_LOG_EVERY_SECONDS = 10.0
_PACKAGES = ("array-record", "numpy", "tokenizers")

Log = Callable[[str], None]


def build_store(
    corpus: Corpus,
    tokenizer: "Tokenizer",
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    log: Log | None = None,
    workers: int | None = None,
) -> TokenStore:
    """Opens the tokenized corpus from the cache; tokenizes it first if it is not cached.

    The name of its directory is the hash of its inputs: those of the corpus, the contents of its files, the fingerprint
    of the tokenizer and the format version. The corpus is built shard by shard in a temporary directory, which is
    renamed when it is complete; an interrupted build resumes after its last complete shard. If several processes need
    the same corpus at once, one builds it and the others wait.

    Args:
        corpus: the documents.
        tokenizer: encodes sentences without special tokens.
        cache_dir: root of the cache; the default if None.
        log: receives progress lines; they are printed to standard error if None.
        workers: number of processes that tokenize; one per core if None. The result does not depend on it.

    Returns:
        The opened store, without sentences and documents that have no token.

    Raises:
        UserError: if the corpus is empty, unreadable or changes while it is read, or the cache cannot be written.
        RunError: if a worker was killed.
    """
    log = log or (lambda line: print(line, file=sys.stderr))
    root = cache_root(cache_dir)
    try:
        (root / "tokens").mkdir(parents=True, exist_ok=True)
        inputs = _inputs(corpus, tokenizer, root)
        key = cache_key(inputs)
        directory = root / "tokens" / key
        waiting = f"Waiting for another process that tokenizes {corpus.name}."
        with exclusive_lock(root / "tokens" / f"{key}.lock", lambda: log(waiting)):
            if directory.exists():
                try:
                    return open_store(directory)
                except StoreDamagedError as error:
                    log(f"The tokenized corpus in {directory} is damaged ({error}). It is built again.")
                    shutil.rmtree(directory)
            build = _Build(corpus, tokenizer, directory, log, workers)
            build.run(inputs, lambda: _inputs(corpus, tokenizer, root))
            return open_store(directory)
    except OSError as error:
        where = "" if error.filename else f" (in {root / 'tokens'})"
        raise UserError(
            f"{corpus.name} could not be tokenized: {error}{where}. Check that the corpus can be read, and that the "
            f"cache directory {root} can be written and has free space; data.cache_dir or the environment variable "
            "FLAX_LITE_CACHE names another one. Finished shards are kept: the same command resumes after them."
        ) from error


def store_key(corpus: Corpus, tokenizer: "Tokenizer", cache_dir: str | None = None) -> str:
    """Returns the fingerprint of the store that `build_store` would open or build, without tokenizing."""
    return cache_key(_inputs(corpus, tokenizer, cache_root(cache_dir)))


def _inputs(corpus: Corpus, tokenizer: "Tokenizer", root: Path) -> dict[str, Any]:
    return {
        **corpus_inputs(corpus, root),
        "tokenizer": tokenizer.fingerprint,
        "format_version": FORMAT_VERSION,
    }


@dataclass
class _Position:
    """The progress of a build.

    Attributes:
        shards: name and number of tokens of each finished shard.
        documents: number of documents read from the corpus for these shards.
        skipped: number of sentences without a token.
    """

    shards: list[tuple[str, int]]
    documents: int = 0
    skipped: int = 0


class _Build:
    """A new or resumed build of a tokenized corpus."""

    def __init__(self, corpus: Corpus, tokenizer: "Tokenizer", directory: Path, log: Log, workers: int | None) -> None:
        self._corpus, self._tokenizer, self._directory, self._log = corpus, tokenizer, directory, log
        self._workers = workers
        self._partial = directory.with_name(f"{directory.name}.partial")
        self._dtype = id_dtype(tokenizer.vocab_size)

    def run(self, inputs: dict[str, Any], inputs_now: Callable[[], dict[str, Any]]) -> None:
        """Tokenizes the remaining documents, writes the index and the manifest, and renames the directory."""
        began = time.monotonic()
        self._log(f"Tokenizing {self._corpus.name} into {self._directory}.")
        self._partial.mkdir(exist_ok=True)
        with IndexWriter(self._partial, self._tokenizer.vocab_size) as index:
            position = self._finished(index)
            before = index.tokens
            self._write_shards(position, index)
        if not index.tokens:
            shutil.rmtree(self._partial)
            raise UserError(
                f"{self._corpus.name} has no token with this tokenizer. Check that they are of the same language."
            )
        if inputs_now() != inputs:
            shutil.rmtree(self._partial)
            raise UserError(
                f"{self._corpus.name} changed while it was read, so its tokens were discarded. Run the same command "
                "again when no other process writes to its files."
            )
        counts = {unit: getattr(index, unit) for unit in ("documents", "sentences", "tokens")}
        self._write_manifest(inputs, counts | {"empty_sentences_skipped": position.skipped}, position)
        self._partial.rename(self._directory)
        (self._directory / _PROGRESS).unlink()  # last: if interrupted earlier, the next build resumes with all shards
        seconds = time.monotonic() - began
        numbers = ", ".join(f"{count:,} {unit}" for unit, count in counts.items())
        speed = (index.tokens - before) / max(seconds, 1e-9)
        self._log(f"Tokenized {numbers} in {seconds:.1f} s ({speed:,.0f} tokens per second).")

    def _finished(self, index: IndexWriter) -> _Position:
        """Reads and checks the finished shards of an interrupted build, and removes its other files."""
        position, lines = _Position([]), []
        for line in _progress_lines(self._partial / _PROGRESS):
            try:
                index.add(list(scan_shard(self._partial / line["shard"], line["tokens"], self._dtype)))
            except ShardError as error:
                self._log(f"{error}. The build resumes before this shard.")
                break
            position.shards.append((line["shard"], line["tokens"]))
            position.documents, position.skipped = line["documents"], line["skipped"]
            lines.append(json.dumps(line) + "\n")
        draft = self._partial / f"{_PROGRESS}.draft"
        write_durably(draft, "".join(lines))
        draft.replace(self._partial / _PROGRESS)
        index_names = {f"{name}.npy" for name in INDEX}  # open for writing
        kept = {_PROGRESS} | index_names | {name for name, _ in position.shards}
        for path in self._partial.iterdir():
            if path.name not in kept:
                path.unlink()
        if lines:
            self._log(f"Resuming an interrupted run with {index.tokens:,} tokens.")
        return position

    def _write_shards(self, position: _Position, index: IndexWriter) -> None:
        meter = _Meter(self._corpus.size, self._log)
        documents = itertools.islice(meter.watch(self._corpus.paragraphs()), position.documents, None)
        blocks = tokenize_corpus(
            documents, self._tokenizer, split_paragraphs=self._corpus.split_paragraphs, workers=self._workers
        )
        with contextlib.closing(blocks), contextlib.ExitStack() as on_error:  # type: ignore[type-var]
            writer: ShardWriter | None = None
            for block, documents_read, skipped in blocks:
                position.documents += documents_read
                position.skipped += skipped
                meter.add(documents_read, len(block.ids))
                if writer is None and len(block.ids):
                    writer = ShardWriter(self._partial / _shard_name(len(position.shards)), self._dtype)
                    on_error.callback(writer.abandon)
                if writer is not None:
                    writer.append(block)
                    if writer.tokens >= _SHARD_TOKENS:
                        self._finish_shard(writer, position, index)
                        on_error.pop_all()
                        writer = None
            if writer is not None:
                self._finish_shard(writer, position, index)

    def _finish_shard(self, writer: ShardWriter, position: _Position, index: IndexWriter) -> None:
        """Closes a shard, reads it back to check it, and then records it as finished."""
        writer.close()
        try:
            index.add(list(scan_shard(writer.path, writer.tokens, self._dtype)))
        except ShardError as error:
            raise OSError(f"a shard could not be read back after it was written: {error}") from error
        position.shards.append((writer.path.name, writer.tokens))
        line = {"shard": writer.path.name, "tokens": writer.tokens}
        line |= {"documents": position.documents, "skipped": position.skipped}
        write_durably(self._partial / _PROGRESS, json.dumps(line) + "\n", "a")

    def _write_manifest(self, inputs: dict[str, Any], counts: dict[str, int], position: _Position) -> None:
        sizes = {name: (self._partial / name).stat().st_size for name, _ in position.shards}
        manifest = {
            "format_version": FORMAT_VERSION,
            "key": self._directory.name,
            "name": self._corpus.name,
            "inputs": inputs,
            "source_files": [str(path) for path in self._corpus.files if isinstance(path, Path)],
            "vocab_size": self._tokenizer.vocab_size,
            "dtype": self._dtype.str,
            "counts": counts,
            "shards": {name: {"tokens": tokens, "bytes": sizes[name]} for name, tokens in position.shards},
            "index": {name: describe_array(self._partial / f"{name}.npy") for name in INDEX},
            "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES},
        }
        write_durably(self._partial / "manifest.json", json.dumps(manifest, indent=1))


def _shard_name(number: int) -> str:
    return f"shard-{number:05}.array_record"


def _progress_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the lines before the first incomplete one, which an interrupted write leaves."""
    if not path.exists():
        return
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines()):
        try:
            line = json.loads(text)
        except ValueError:
            return
        if not isinstance(line, dict) or line.get("shard") != _shard_name(number):
            return
        yield line


class _Meter:
    """Logs the progress of a build every few seconds."""

    def __init__(self, size: float | None, log: Log) -> None:
        self._size, self._log = size, log
        self._characters = self._documents = self._tokens = 0
        self._began = self._logged_at = time.monotonic()

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yields the documents and counts their characters."""
        for document in documents:
            self._characters += sum(map(len, document))
            yield document

    def add(self, documents: int, tokens: int) -> None:
        """Counts tokenized documents and tokens."""
        self._documents += documents
        self._tokens += tokens
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at = now
            speed = self._tokens / (now - self._began)
            share = f", about {min(self._characters / self._size, 1):.0%} of the text" if self._size else ""
            self._log(
                f"  {self._tokens:,} tokens of {self._documents:,} documents{share}; {speed:,.0f} tokens per second"
            )
