"""Token shards: ArrayRecord files with the tokens of a corpus and the boundaries of its sentences and documents.

A record is a block of `RECORD_TOKENS` consecutive tokens; the last block of a shard may be shorter. The record of a
token therefore follows by arithmetic, and a row reads one or two records, whatever the length of the documents. A
record is a msgpack map of three little-endian arrays: `ids` (in the dtype of the shard), and `sentence_starts` and
`document_starts` (uint16), the positions in the block at which sentences and documents start. A shard holds whole
documents. ArrayRecord stores and checks a hash of every record.
"""

import bisect
import contextlib
import functools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np
from jaxtyping import Int, Integer

from train.errors import RunError

# A row of 512 tokens reads 1.25 records on average, at 12 us each. With 1024 tokens per record it would read 1.5, with
# 4096 twice the bytes.
RECORD_TOKENS = 2048
# zstd compresses uint16 ids to 0.6 of their size and adds 4 us per record; brotli, ArrayRecord's default, adds 30 us.
_WRITER_OPTIONS = "group_size:1,zstd:3"
# No readahead, for random access (array_record/python/array_record_data_source.py).
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_RECORDS_SCANNED = 256  # read at a time: one megabyte
_RECORDS_KEPT = 16  # decoded records in the cache: the segments of a row are adjacent
_READERS_KEPT = 128  # open files; the usual limit of a process is 1024


class ShardError(RunError):
    """A shard cannot be read: it is missing, damaged, or does not match its manifest."""


class TokenBlock(NamedTuple):
    """Consecutive tokens of a corpus.

    Attributes:
        ids: the tokens.
        sentence_starts: positions in `ids` at which sentences start.
        document_starts: positions in `ids` at which documents start.
    """

    ids: Integer[np.ndarray, "tokens"]
    sentence_starts: Int[np.ndarray, "sentences"]
    document_starts: Int[np.ndarray, "documents"]


class ShardWriter:
    """Writes one shard. The file is valid only after `close`, which returns when it is on disk."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        """Creates the file.

        Raises:
            OSError: if it cannot be created.
        """
        from array_record.python.array_record_module import ArrayRecordWriter

        self.path, self.tokens = path, 0
        self._dtype = dtype
        self._rest = TokenBlock(np.zeros(0, dtype), np.zeros(0, np.int64), np.zeros(0, np.int64))
        path.touch()  # raises OSError, where the writer would raise a RuntimeError
        self._writer = ArrayRecordWriter(str(path), _WRITER_OPTIONS)

    def append(self, block: TokenBlock) -> None:
        """Appends whole documents.

        Raises:
            OSError: if they cannot be written.
        """
        self.tokens += len(block.ids)
        block = _concatenate(self._rest, block)
        whole = len(block.ids) // RECORD_TOKENS * RECORD_TOKENS
        for start in range(0, whole, RECORD_TOKENS):
            self._write(_slice(block, start, start + RECORD_TOKENS))
        self._rest = _slice(block, whole, len(block.ids))

    def close(self) -> None:
        """Writes the remaining tokens and closes the file.

        Raises:
            OSError: if they cannot be written.
        """
        if len(self._rest.ids):
            self._write(self._rest)
        try:
            self._writer.close()
        except RuntimeError as error:
            raise OSError(str(error)) from error
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def abandon(self) -> None:
        """Closes the file without writing the remaining tokens."""
        with contextlib.suppress(RuntimeError):  # the file is discarded
            self._writer.close()

    def _write(self, block: TokenBlock) -> None:
        ids = block.ids.astype(self._dtype.newbyteorder("<"), copy=False)
        starts = (starts.astype("<u2") for starts in block[1:])
        fields = zip(TokenBlock._fields, (ids, *starts), strict=True)
        try:
            self._writer.write(msgpack.packb({name: values.tobytes() for name, values in fields}))
        except RuntimeError as error:  # ArrayRecord reports errors of the file system as RuntimeError
            raise OSError(str(error)) from error


class ShardedTokens:
    """The tokens of a corpus as a sequence whose slices `tokens[first:end]` are read from the shards.

    It is thread-safe. It is pickled as its paths: another process opens the files again.
    """

    def __init__(self, directory: Path, shards: Sequence[tuple[str, int]], dtype: np.dtype[Any]) -> None:
        """Creates the sequence; files are opened when they are read.

        Args:
            directory: the directory of the shards.
            shards: name and number of tokens of each shard, in order.
            dtype: dtype of the ids.
        """
        self.directory, self.shards, self.dtype = directory, tuple(shards), np.dtype(dtype)
        self._ends = np.cumsum([tokens for _, tokens in self.shards], dtype=np.int64).tolist()
        self._lock = threading.Lock()
        self._reader = functools.lru_cache(_READERS_KEPT)(self._open)
        self._record = functools.lru_cache(_RECORDS_KEPT)(self._read)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.directory, self.shards, self.dtype)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, where: slice) -> Integer[np.ndarray, "tokens"]:
        """Returns the tokens of a range.

        Raises:
            ShardError: if a record cannot be read.
            IndexError: if the step is not 1.
        """
        first, end, step = where.indices(len(self))
        if step != 1:
            raise IndexError(f"a slice of tokens has step 1, got {step}")
        parts = []
        while first < end:
            shard = bisect.bisect_right(self._ends, first)
            start = self._ends[shard - 1] if shard else 0
            record, offset = divmod(first - start, RECORD_TOKENS)
            part = self._record(shard, record)[offset : offset + end - first]
            parts.append(part)
            first += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, self.dtype), *parts])

    def _read(self, shard: int, record: int) -> Integer[np.ndarray, "tokens"]:
        name, tokens = self.shards[shard]
        try:
            with self._lock:
                packed = _read_record(self._reader(shard), record, self.directory / name)
            ids = _decoded(packed, self.dtype, f"{self.directory / name}, record {record}").ids
            if len(ids) != min(RECORD_TOKENS, tokens - record * RECORD_TOKENS):
                raise ShardError(
                    f"{self.directory / name}, record {record}: its number of tokens differs from the manifest"
                )
        except ShardError as error:
            self._reader.cache_clear()  # a reader does not recover from an error
            raise ShardError(
                f"{error}. The cache can be rebuilt: remove {self.directory}, and the same command tokenizes the "
                "corpus again and resumes"
            ) from error
        return ids

    def _open(self, shard: int) -> Any:
        name, tokens = self.shards[shard]
        return _open_reader(self.directory / name, tokens)


def scan_shard(path: Path, tokens: int, dtype: np.dtype[Any]) -> Iterator[TokenBlock]:
    """Yields the blocks of a shard in order; `tokens` is the expected number of tokens.

    Raises:
        ShardError: if a record is damaged or the shard is incomplete.
    """
    reader = _open_reader(path, tokens)
    found = 0
    for start in range(0, reader.num_records(), _RECORDS_SCANNED):
        numbers = range(start, min(start + _RECORDS_SCANNED, reader.num_records()))
        try:
            packed = reader.read(numbers.start, numbers.stop)
        except RuntimeError as error:
            raise ShardError(f"{path}, records {start} to {numbers[-1]}: {_first_line(error)}") from error
        for number, record in zip(numbers, packed, strict=True):
            block = _decoded(record, dtype, f"{path}, record {number}")
            found += len(block.ids)
            yield block
    reader.close()
    if found != tokens:
        raise ShardError(f"{path} holds {found} tokens, expected {tokens}")


def _open_reader(path: Path, tokens: int) -> Any:
    from array_record.python.array_record_module import ArrayRecordReader

    if not path.is_file():  # ArrayRecord would open it as a file without records
        raise ShardError(f"{path} is missing")
    try:
        reader = ArrayRecordReader(str(path), _READER_OPTIONS)
        records = reader.num_records()
    except RuntimeError as error:
        raise ShardError(f"{path}: {_first_line(error)}") from error
    expected = -(-tokens // RECORD_TOKENS)
    if records != expected:
        raise ShardError(f"{path} has {records} records, expected {expected}: it is damaged or truncated")
    return reader


def _read_record(reader: Any, record: int, path: Path) -> bytes:
    try:
        reader.seek(record)
        return reader.read()
    except (RuntimeError, IndexError) as error:
        raise ShardError(f"{path}, record {record}: {_first_line(error)}") from error


def _decoded(packed: bytes, dtype: np.dtype[Any], where: str) -> TokenBlock:
    try:
        record = msgpack.unpackb(packed)
        ids = np.frombuffer(record["ids"], dtype.newbyteorder("<"))
        starts = [np.frombuffer(record[name], "<u2").astype(np.int64) for name in TokenBlock._fields[1:]]
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{where} is not a block of tokens: {_first_line(error)}") from error
    return TokenBlock(ids, *starts)


def _concatenate(first: TokenBlock, second: TokenBlock) -> TokenBlock:
    offset = len(first.ids)
    starts = (np.concatenate([a, b + offset]) for a, b in zip(first[1:], second[1:], strict=True))
    return TokenBlock(np.concatenate([first.ids, second.ids]), *starts)


def _slice(block: TokenBlock, start: int, end: int) -> TokenBlock:
    spans = (np.searchsorted(starts, (start, end)) for starts in block[1:])
    starts = (values[slice(*span)] - start for values, span in zip(block[1:], spans, strict=True))
    return TokenBlock(block.ids[start:end], *starts)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
