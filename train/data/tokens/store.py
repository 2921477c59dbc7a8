"""Tokenized corpora on disk: token shards, the index that plans are made from, and a manifest that both must match.

    manifest.json           inputs (sources, hashes of their files, tokenizer), counts, versions, sizes and hashes
    shard-00000.array_record ...   tokens with their boundaries (train.data.tokens.shards)
    sentence_offsets.npy    first token of each sentence, closed by the number of tokens
    document_offsets.npy    first sentence of each document, closed by the number of sentences
    token_counts.npy        how often each id occurs

The index is derived from the shards and memory-mapped. `train.data.tokens.preparation` makes all of it.
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
    """A stored corpus is not what its manifest says."""


@dataclass(frozen=True)
class TokenStore:
    """A tokenized corpus. A copy sent to another process opens the files again.

    Attributes:
        directory: where it lies.
        vocab_size: V of the tokenizer that made it.
        manifest: its inputs, counts and versions.
        ids: all tokens, sentence after sentence, document after document; read where they are sliced.
        sentence_offsets: first token of each sentence, closed by the number of tokens.
        document_offsets: first sentence of each document, closed by the number of sentences.
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
        """Numbers of documents, sentences and tokens."""
        return self.manifest["counts"]

    @property
    def fingerprint(self) -> str:
        """Hash of all inputs that decide the tokens: text, splitting, tokenizer."""
        return self.manifest["key"]

    def __reduce__(self) -> tuple[Callable[..., "TokenStore"], tuple[Path, bool]]:
        return open_store, (self.directory, False)


def open_store(directory: str | os.PathLike[str], verify: bool = True) -> TokenStore:
    """Opens a tokenized corpus and checks it against its manifest.

    Args:
        directory: where it lies.
        verify: whether to read the index and compare its hashes; sizes are compared in any case. Damage inside a shard
            is noticed when the record is read.

    Raises:
        StoreDamagedError: if a file is missing, of another size, shape or content, or does not fit the others.
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
    """What the manifest says of a file of the index."""
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
        raise StoreDamagedError(f"{path.name} has another content than when it was made")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape != (description["length"],) or array.dtype.str != description["dtype"]:
        raise StoreDamagedError(f"{path.name} holds {array.dtype.str}{array.shape}, expected {description}")
    return array.view(np.ndarray)  # slices of a memmap object cost several times those of a plain view


def _check_size(path: Path, expected: int) -> None:
    size = path.stat().st_size
    if size != expected:
        raise StoreDamagedError(f"{path.name} has {size} bytes, expected {expected}")
