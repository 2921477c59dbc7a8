"""Token shards: ArrayRecord files that hold a corpus's tokens with the boundaries of sentences and documents.

A record is a block of `RECORD_TOKENS` consecutive tokens, the last one of a shard shorter; so a token is found by
arithmetic, and a row reads one or two records, whatever the documents' lengths. It is a msgpack map of three
little-endian arrays: `ids` (the shard's dtype), and `sentence_starts` and `document_starts` (uint16), the places in the
block at which one begins. A shard holds whole documents. ArrayRecord keeps a hash of every record and checks it.
"""

import bisect
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

# A row of 512 touches 1.25 records on average, for 12 us each; with 1024 it would be 1.5, with 4096 twice the bytes.
RECORD_TOKENS = 2048
# zstd takes 0.6 of the room of plain uint16 and 4 us more a record; brotli, ArrayRecord's default, takes 30 us more.
_WRITER_OPTIONS = "group_size:1,zstd:3"
# ArrayRecord's own advice for random access.
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_RECORDS_SCANNED = 256  # at once: a megabyte
_RECORDS_KEPT = 16  # decoded: segments of one row lie next to each other
_READERS_KEPT = 128  # open at once; the customary limit of a process is 1024 files


class ShardError(RunError):
    """A shard cannot be read: it is missing, damaged, or not what its manifest says."""


class TokenBlock(NamedTuple):
    """Consecutive tokens; whole documents where it is all of a shard or of a preparation step.

    Attributes:
        ids: the tokens.
        sentence_starts: where sentences begin in `ids`.
        document_starts: where documents begin in `ids`.
    """

    ids: Integer[np.ndarray, "tokens"]
    sentence_starts: Int[np.ndarray, "sentences"]
    document_starts: Int[np.ndarray, "documents"]


class ShardWriter:
    """Writes one shard. `close` ends it and waits until it is on the disk; without it there is no valid file."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        """Raises OSError where the file cannot be made."""
        from array_record.python.array_record_module import ArrayRecordWriter

        self.path, self.tokens = path, 0
        self._dtype = dtype
        self._rest = TokenBlock(np.zeros(0, dtype), np.zeros(0, np.int64), np.zeros(0, np.int64))
        path.touch()  # reports as OSError what the writer would report as text
        self._writer = ArrayRecordWriter(str(path), _WRITER_OPTIONS)

    def append(self, block: TokenBlock) -> None:
        """Adds whole documents. Raises OSError where they cannot be written."""
        self.tokens += len(block.ids)
        block = _joined(self._rest, block)
        whole = len(block.ids) // RECORD_TOKENS * RECORD_TOKENS
        for start in range(0, whole, RECORD_TOKENS):
            self._write(_part(block, start, start + RECORD_TOKENS))
        self._rest = _part(block, whole, len(block.ids))

    def close(self) -> None:
        """Writes what is left. Raises OSError where it cannot be written."""
        if len(self._rest.ids):
            self._write(self._rest)
        try:
            self._writer.close()
        except RuntimeError as error:
            raise OSError(str(error)) from error
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def abandon(self) -> None:
        """Closes the file as it is."""
        try:
            self._writer.close()
        except RuntimeError:  # what could not be written is not wanted either
            return

    def _write(self, block: TokenBlock) -> None:
        ids = block.ids.astype(self._dtype.newbyteorder("<"), copy=False)
        starts = (starts.astype("<u2") for starts in block[1:])
        fields = zip(TokenBlock._fields, (ids, *starts), strict=True)
        try:
            self._writer.write(msgpack.packb({name: values.tobytes() for name, values in fields}))
        except RuntimeError as error:  # ArrayRecord gives the system's error as text alone
            raise OSError(str(error)) from error


class ShardedTokens:
    """All tokens of a corpus by position, read from its shards as they are asked for: `tokens[first:end]`.

    Threads may share one. A copy sent to another process opens the files again.
    """

    def __init__(self, directory: Path, shards: Sequence[tuple[str, int]], dtype: np.dtype[Any]) -> None:
        """Opens no file yet.

        Args:
            directory: where the shards lie.
            shards: name and number of tokens of each, in order.
            dtype: of the ids.
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
        """The tokens of a range.

        Raises:
            ShardError: if they cannot be read.
            IndexError: if the step is not 1.
        """
        first, end, step = where.indices(len(self))
        if step != 1:
            raise IndexError(f"tokens are read in order, got a step of {step}")
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
                raise ShardError(f"{self.directory / name}, record {record}: not as many tokens as its manifest says")
        except ShardError as error:
            self._reader.cache_clear()  # a reader that has failed fails ever after
            raise ShardError(
                f"{error}. This is a copy that can be made again: remove {self.directory}, and the same command "
                "prepares it anew and goes on"
            ) from error
        return ids

    def _open(self, shard: int) -> Any:
        name, tokens = self.shards[shard]
        return _open_reader(self.directory / name, tokens)


def scan_shard(path: Path, tokens: int, dtype: np.dtype[Any]) -> Iterator[TokenBlock]:
    """Yields all of a shard, in order, some records at a time; `tokens` is how many it has to hold.

    Raises:
        ShardError: if a record is damaged or the shard is not whole.
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

    if not path.is_file():  # ArrayRecord would say that it has no record
        raise ShardError(f"{path} is missing")
    try:
        reader = ArrayRecordReader(str(path), _READER_OPTIONS)
        records = reader.num_records()
    except RuntimeError as error:
        raise ShardError(f"{path}: {_first_line(error)}") from error
    expected = -(-tokens // RECORD_TOKENS)
    if records != expected:
        raise ShardError(f"{path} has {records} records, expected {expected}: it is damaged or was cut short")
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
        raise ShardError(f"{where} is no block of tokens: {_first_line(error)}") from error
    return TokenBlock(ids, *starts)


def _joined(first: TokenBlock, second: TokenBlock) -> TokenBlock:
    before = len(first.ids)
    starts = (np.concatenate([a, b + before]) for a, b in zip(first[1:], second[1:], strict=True))
    return TokenBlock(np.concatenate([first.ids, second.ids]), *starts)


def _part(block: TokenBlock, start: int, end: int) -> TokenBlock:
    spans = (np.searchsorted(starts, (start, end)) for starts in block[1:])
    starts = (values[slice(*span)] - start for values, span in zip(block[1:], spans, strict=True))
    return TokenBlock(block.ids[start:end], *starts)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
