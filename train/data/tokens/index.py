"""Writes the index of a tokenized corpus: where sentences and documents start, and how often each id occurs."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from train.data.tokens.shards import TokenBlock
from train.data.tokens.store import INDEX


class IndexWriter:
    """Writes the index of consecutive blocks of tokens; the files are complete after the `with` block."""

    def __init__(self, directory: Path, vocab_size: int) -> None:
        self.tokens = self.sentences = self.documents = 0
        self._counts = np.zeros(vocab_size, np.int64)
        self._paths = [directory / f"{name}.npy" for name in INDEX]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "IndexWriter":
        offsets = [self._stack.enter_context(_ArrayFile(path, np.int64)) for path in self._paths[:2]]
        self._sentence_offsets, self._document_offsets = offsets
        return self

    def add(self, blocks: Iterable[TokenBlock]) -> None:
        """Appends blocks that together hold whole documents."""
        for block in blocks:
            self._sentence_offsets.append(self.tokens + block.sentence_starts)
            within = np.searchsorted(block.sentence_starts, block.document_starts)
            self._document_offsets.append(self.sentences + within)
            self._counts += np.bincount(block.ids, minlength=len(self._counts))
            self.tokens += len(block.ids)
            self.sentences += len(block.sentence_starts)
            self.documents += len(block.document_starts)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._sentence_offsets.append(np.array([self.tokens]))
            self._document_offsets.append(np.array([self.sentences]))
            with _ArrayFile(self._paths[2], np.int64) as counts:
                counts.append(self._counts)
        self._stack.__exit__(kind, error, trace)


class _ArrayFile:
    """A growing one-dimensional .npy file.

    NumPy pads the header of the format so that the length can be rewritten in place; `np.save` needs the whole array in
    memory.
    """

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self._path, self._dtype, self._length = path, np.dtype(dtype), 0

    def __enter__(self) -> "_ArrayFile":
        self._file = self._path.open("wb")
        self._write_header()
        return self

    def append(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, self._dtype).tobytes())
        self._length += len(values)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with contextlib.suppress(OSError):  # on a full disk, the first error is the one to report
                self._file.close()
            return
        with self._file:
            self._file.seek(0)
            self._write_header()
            self._file.flush()
            os.fsync(self._file.fileno())

    def _write_header(self) -> None:
        header: dict[str, Any] = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._length,)}
        np.lib.format.write_array_header_1_0(self._file, header)
