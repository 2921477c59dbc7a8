"""Tokenised corpora on disk: tokenised once, whole or not at all, read through memory maps."""

import contextlib
import hashlib
import itertools
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, Integer

from train.data.files import content_hash, exclusive_lock, write_durably
from train.data.sources import Corpus, Document
from train.errors import UserError

if TYPE_CHECKING:
    from flax_lite.tokenization import Tokenizer

FORMAT_VERSION = 1

_ARRAYS = ("ids", "sentence_offsets", "document_offsets")
_SENTENCES_PER_BATCH = 8192
_COUNTED_AT_ONCE = 2**24  # bincount's int64 copy of the ids stays at 128 MiB


class StoreDamagedError(Exception):
    """A stored corpus is not what its manifest says."""


@dataclass(frozen=True)
class TokenStore:
    """A tokenised corpus, memory-mapped. A copy sent to another process opens the files again.

    Attributes:
        directory: where it lies.
        vocab_size: V of the tokenizer that made it.
        manifest: its inputs, counts and versions.
        ids: all tokens, sentence after sentence, document after document.
        sentence_offsets: first token of each sentence, closed by the number of tokens.
        document_offsets: first sentence of each document, closed by the number of sentences.
    """

    directory: Path
    vocab_size: int
    manifest: dict[str, Any] = field(repr=False)
    ids: Integer[np.ndarray, "tokens"] = field(repr=False)
    sentence_offsets: Int[np.ndarray, "sentence_bounds"] = field(repr=False)
    document_offsets: Int[np.ndarray, "document_bounds"] = field(repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of documents, sentences and tokens."""
        return self.manifest["counts"]

    @property
    def fingerprint(self) -> str:
        """Hash of all inputs that decide the tokens: text, splitting, tokenizer."""
        return self.manifest["key"]

    def __reduce__(self) -> tuple[Callable[..., "TokenStore"], tuple[Path]]:
        return open_store, (self.directory,)


def build_store(
    corpus: Corpus,
    tokenizer: "Tokenizer",
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] | None = None,
) -> TokenStore:
    """Opens the tokenised corpus from the cache, tokenising it first where it is not there yet.

    It lies in a directory named by the hash of its inputs: the corpus's own, the contents of its files, the tokenizer's
    fingerprint and the format version. It is built beside that directory and renamed when whole; of several processes
    that want it at once, one builds and the others wait. What a killed build left is removed by the next one.

    Args:
        corpus: the documents.
        tokenizer: gives ids without specials.
        cache_dir: root of the cache; `default_cache_dir()` if None.
        say: takes lines for a person; by default they go to standard error.

    Returns:
        The opened store. Sentences and documents without a token are left out.

    Raises:
        UserError: if the corpus is empty or unreadable, or the cache cannot be written.
    """
    say = say or (lambda line: print(line, file=sys.stderr))
    root = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    try:
        (root / "tokens").mkdir(parents=True, exist_ok=True)
        inputs = _key_inputs(corpus, tokenizer, root)
        key = hashlib.blake2b(json.dumps(inputs, sort_keys=True).encode(), digest_size=16).hexdigest()
        directory = root / "tokens" / key
        lock = root / "tokens" / f"{key}.lock"
        with exclusive_lock(lock, lambda: say(f"Waiting for another process that tokenises {corpus.name}.")):
            for leftover in directory.parent.glob(f"{key}.staging-*"):
                shutil.rmtree(leftover)
            if directory.exists():
                try:
                    return open_store(directory)
                except StoreDamagedError as error:
                    say(f"The tokenised corpus in {directory} is damaged ({error}): building it again.")
                    shutil.rmtree(directory)
            _build(corpus, tokenizer, inputs, directory, say)
            return open_store(directory)
    except OSError as error:
        raise UserError(
            f"{corpus.name} could not be tokenised: {error}. Check that the corpus can be read, and that the cache "
            f"{root} can be written and has room; the environment variable FLAX_LITE_CACHE names another place."
        ) from error


def open_store(directory: str | os.PathLike[str]) -> TokenStore:
    """Opens a tokenised corpus and checks it against its manifest.

    Raises:
        StoreDamagedError: if a file is missing, of another size or shape, or does not fit the others.
    """
    directory = Path(directory).absolute()
    try:
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format_version"] != FORMAT_VERSION:
            raise StoreDamagedError(f"format version {manifest['format_version']}, expected {FORMAT_VERSION}")
        arrays = {name: _open_array(directory / f"{name}.npy", manifest["arrays"][name]) for name in _ARRAYS}
        counts, vocab_size = manifest["counts"], int(manifest["vocab_size"])
        found = {
            "tokens": (len(arrays["ids"]), int(arrays["sentence_offsets"][-1])),
            "sentences": (len(arrays["sentence_offsets"]) - 1, int(arrays["document_offsets"][-1])),
            "documents": (len(arrays["document_offsets"]) - 1,),
        }
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StoreDamagedError(f"{type(error).__name__}: {error}") from error
    for unit, numbers in found.items():
        if set(numbers) != {counts.get(unit)}:
            raise StoreDamagedError(f"{counts.get(unit)} {unit} in the manifest, {numbers} in the arrays")
    return TokenStore(directory, vocab_size, manifest, **arrays)


def token_counts(store: TokenStore) -> Int[np.ndarray, "V"]:
    """Counts each id; the unigram entropy of a corpus in nats is that of these counts (no specials are stored)."""
    counts = np.zeros(store.vocab_size, np.int64)
    for start in range(0, len(store.ids), _COUNTED_AT_ONCE):
        counts += np.bincount(store.ids[start : start + _COUNTED_AT_ONCE], minlength=store.vocab_size)
    return counts


def default_cache_dir() -> Path:
    """Returns $FLAX_LITE_CACHE, else flax_lite in $XDG_CACHE_HOME, else ~/.cache/flax_lite."""
    if chosen := os.environ.get("FLAX_LITE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flax_lite"


def _build(
    corpus: Corpus, tokenizer: "Tokenizer", inputs: dict[str, Any], directory: Path, say: Callable[[str], None]
) -> None:
    say(f"Tokenising {corpus.name} into {directory}.")
    began = time.monotonic()
    staging = Path(tempfile.mkdtemp(prefix=f"{directory.name}.staging-", dir=directory.parent))
    try:
        counts, arrays = _write_arrays(corpus, tokenizer, staging)
        manifest = {
            "format_version": FORMAT_VERSION,
            "key": directory.name,
            "inputs": inputs,
            "vocab_size": tokenizer.vocab_size,
            "counts": counts,
            "arrays": arrays,
            "versions": {"numpy": np.__version__, "python": platform.python_version()},
        }
        write_durably(staging / "manifest.json", json.dumps(manifest, indent=1))
        staging.chmod(0o755)  # mkdtemp's directories are private
        staging.rename(directory)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    numbers = ", ".join(f"{counts[unit]:,} {unit}" for unit in ("documents", "sentences", "tokens"))
    say(f"Tokenised {numbers} in {time.monotonic() - began:.1f} s.")


def _write_arrays(
    corpus: Corpus, tokenizer: "Tokenizer", staging: Path
) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """Writes the three arrays; returns the counts and each array's description for the manifest."""
    id_dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.int32
    tokens = sentences = documents = skipped = 0
    with contextlib.ExitStack() as stack:
        ids, sentence_offsets, document_offsets = (
            stack.enter_context(_ArrayFile(staging / f"{name}.npy", dtype))
            for name, dtype in zip(_ARRAYS, (id_dtype, np.int64, np.int64), strict=True)
        )
        sentence_offsets.append(np.zeros(1))
        document_offsets.append(np.zeros(1))
        for batch in _document_batches(corpus.documents()):
            encoded = tokenizer.encode([sentence for document in batch for sentence in document])
            lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
            ids.append(np.fromiter(itertools.chain.from_iterable(encoded), id_dtype, lengths.sum()))
            ends = np.cumsum([len(document) for document in batch])
            kept_before = np.concatenate([[0], np.cumsum(lengths > 0)])
            kept = np.diff(kept_before[np.concatenate([[0], ends])])  # sentences with tokens, by document
            sentence_offsets.append(tokens + np.cumsum(lengths[lengths > 0]))
            document_offsets.append(sentences + np.cumsum(kept[kept > 0]))
            tokens += int(lengths.sum())
            sentences += int(kept.sum())
            documents += int((kept > 0).sum())
            skipped += int((lengths == 0).sum())
    if not tokens:
        raise UserError(f"{corpus.name} gives no token with this tokenizer: check that the two fit.")
    arrays = {file.path.stem: file.description() for file in (ids, sentence_offsets, document_offsets)}
    counts = {"documents": documents, "sentences": sentences, "tokens": tokens, "empty_sentences_skipped": skipped}
    return counts, arrays


class _ArrayFile:
    """A one-dimensional .npy file that grows: NumPy pads the header so that its length can be rewritten in place."""

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self.path = path
        self._dtype = np.dtype(dtype)
        self._length = 0

    def __enter__(self) -> "_ArrayFile":
        self._file = self.path.open("wb")
        self._write_header()
        return self

    def append(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, self._dtype).tobytes())
        self._length += len(values)

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()
            self._file.flush()
            os.fsync(self._file.fileno())

    def description(self) -> dict[str, Any]:
        return {"dtype": self._dtype.str, "length": self._length, "bytes": self.path.stat().st_size}

    def _write_header(self) -> None:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._length,)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _open_array(path: Path, description: dict[str, Any]) -> np.ndarray:
    size = path.stat().st_size
    if size != description["bytes"]:
        raise StoreDamagedError(f"{path.name} has {size} bytes, expected {description['bytes']}")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape != (description["length"],) or array.dtype.str != description["dtype"]:
        raise StoreDamagedError(f"{path.name} holds {array.dtype.str}{array.shape}, expected {description}")
    return array.view(np.ndarray)  # slices of a memmap object cost several times those of a plain view


def _document_batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    sentences = 0
    for document in documents:
        batch.append(document)
        sentences += len(document)
        if sentences >= _SENTENCES_PER_BATCH:
            yield batch
            batch, sentences = [], 0
    if batch:
        yield batch


def _key_inputs(corpus: Corpus, tokenizer: "Tokenizer", root: Path) -> dict[str, Any]:
    return {
        "corpus": corpus.inputs,
        "files": [content_hash(path, root / "file_hashes") for path in corpus.files],
        "tokenizer": tokenizer.fingerprint,
        "format_version": FORMAT_VERSION,
    }
