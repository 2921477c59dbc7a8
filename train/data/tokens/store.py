"""Opens a tokenized corpus: token shards, an index for planning epochs, and a manifest that both are checked against.

    manifest.json           inputs (sources, hashes of their files, tokenizer), counts, versions, sizes and hashes
    shard-00000.array_record ...   tokens with their boundaries (train.data.tokens.shards)
    sentence_offsets.npy    first token of each sentence, then the number of tokens
    document_offsets.npy    first sentence of each document, then the number of sentences
    token_counts.npy        how often each id occurs

The index is derived from the shards and memory-mapped. `train.data.tokens.preparation` writes all files.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from train.data.tokens.shards import ShardedTokens
from train.machine.files import hash_file

FORMAT_VERSION = 2
INDEX = ("sentence_offsets", "document_offsets", "token_counts")


class StoreDamagedError(Exception):
    """A tokenized corpus does not match its manifest."""


@dataclass(frozen=True)
class TokenStore:
    """A tokenized corpus. It is pickled as its path: another process opens the files again.

    Attributes:
        directory: the directory of its files.
        vocab_size: V of the tokenizer.
        manifest: its inputs, counts and versions.
        ids: all tokens in the order of sentences and documents; slices are read from disk.
        sentence_offsets: first token of each sentence, then the number of tokens.
        document_offsets: first sentence of each document, then the number of sentences.
        token_counts: how often each id occurs.
    """

    directory: Path
    vocab_size: int
    manifest: dict[str, Any] = field(repr=False)
    ids: ShardedTokens = field(repr=False)
    sentence_offsets: Int[np.ndarray, "sentence_bounds"] = field(repr=False)
    document_offsets: Int[np.ndarray, "document_bounds"] = field(repr=False)
    token_counts: Int[np.ndarray, "V"] = field(repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of documents, sentences and tokens."""
        return self.manifest["counts"]

    @property
    def fingerprint(self) -> str:
        """The hash of all inputs that determine the tokens: text, sentence splitting, tokenizer."""
        return self.manifest["key"]

    def __reduce__(self) -> tuple[Callable[..., "TokenStore"], tuple[Path, bool]]:
        return open_store, (self.directory, False)


def open_store(directory: str | os.PathLike[str], verify: bool = True) -> TokenStore:
    """Opens a tokenized corpus and checks it against its manifest.

    Args:
        directory: the directory of its files.
        verify: whether to read the index and compare its hashes; sizes are always compared. Damage inside a shard is
            detected when the record is read.

    Raises:
        StoreDamagedError: if a file is missing, differs from the manifest, or contradicts another file.
    """
    directory = Path(directory).absolute()
    try:
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format_version"] != FORMAT_VERSION:
            raise StoreDamagedError(f"format version {manifest['format_version']}, expected {FORMAT_VERSION}")
        index = {name: _open_array(directory / f"{name}.npy", manifest["index"][name], verify) for name in INDEX}
        for name, shard in manifest["shards"].items():
            _check_size(directory / name, shard["bytes"])
        shards = [(name, shard["tokens"]) for name, shard in manifest["shards"].items()]
        ids = ShardedTokens(directory, shards, np.dtype(manifest["dtype"]))
        _check_counts(manifest["counts"], ids, index)
        return TokenStore(directory, int(manifest["vocab_size"]), manifest, ids, **index)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreDamagedError(f"{type(error).__name__}: {error}") from error


def describe_array(path: Path) -> dict[str, Any]:
    """Returns the manifest entry of an index file."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    size = {"dtype": array.dtype.str, "length": len(array), "bytes": path.stat().st_size}
    return size | {"blake2b": hash_file(path)}


def _check_counts(counts: Mapping[str, int], ids: ShardedTokens, index: Mapping[str, np.ndarray]) -> None:
    sentences, documents = index["sentence_offsets"], index["document_offsets"]
    found = {
        "tokens": {len(ids), int(sentences[-1]), int(index["token_counts"].sum())},
        "sentences": {len(sentences) - 1, int(documents[-1])},
        "documents": {len(documents) - 1},
    }
    for unit, numbers in found.items():
        if numbers != {counts[unit]}:
            raise StoreDamagedError(f"{counts[unit]} {unit} in the manifest, {sorted(numbers)} in the files")


def _open_array(path: Path, description: Mapping[str, Any], verify: bool) -> np.ndarray:
    _check_size(path, description["bytes"])
    if verify and hash_file(path) != description["blake2b"]:
        raise StoreDamagedError(f"{path.name} does not have the hash of the manifest")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape != (description["length"],) or array.dtype.str != description["dtype"]:
        raise StoreDamagedError(f"{path.name} holds {array.dtype.str}{array.shape}, expected {description}")
    return array.view(np.ndarray)  # slicing an np.memmap costs several times as much as slicing a plain view


def _check_size(path: Path, expected: int) -> None:
    size = path.stat().st_size
    if size != expected:
        raise StoreDamagedError(f"{path.name} has {size} bytes, expected {expected}")
