"""What a corpus is, how paragraphs become documents, and which documents are held out."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from train.data.sources.sentences import split_sentences
from train.errors import UserError

Split = Literal["train", "heldout"]
Document = list[str]
Extent = tuple[str, float, float]  # a file, and its first record and the one after the last

# A longer paragraph is cut at white space, so that memory stays bounded; no real one is a million characters.
_LONGEST_PARAGRAPH = 2**20
# A longer document is cut between paragraphs, for the same reason; four times the King James Bible (4.3 MB).
_LONGEST_DOCUMENT = 2**24


@dataclass(frozen=True)
class Corpus:
    """Documents that can be read more than once, always in the same order.

    Attributes:
        name: what a person calls it, for messages.
        inputs: everything that the documents depend on, as JSON values, except the contents of `files`.
        files: the files read, if any; their contents belong to the key of whatever is made from the corpus.
        read: starts a new pass over the documents.
        extents: what is read of which file, to find text that two corpora share.
    """

    name: str
    inputs: dict[str, object]
    files: tuple[Path, ...]
    read: Callable[[], Iterator[Document]] = field(repr=False, compare=False)
    extents: tuple[Extent, ...] = ()

    def documents(self) -> Iterator[Document]:
        """Yields every document.

        Raises:
            UserError: if there is none, or a file cannot be read.
        """
        documents = self.read()
        first = next(documents, None)
        if first is None:
            raise UserError(
                f"{self.name} holds no document. A text file holds a sentence or paragraph a line and a blank line "
                "between documents; a share (data.eval_fraction) is drawn by the hash of each document's text, so it "
                "needs enough documents. Check the files, change the share, or give data.eval_source."
            )
        return itertools.chain([first], documents)


@dataclass(frozen=True)
class Texts:
    """What a kind of source gives: paragraphs, with None after the last one of each document.

    Attributes:
        inputs: as of `Corpus`.
        files: as of `Corpus`.
        extents: as of `Corpus`.
        read: starts a new pass over the paragraphs.
    """

    inputs: dict[str, object]
    files: tuple[Path, ...]
    extents: tuple[Extent, ...]
    read: Callable[[], Iterator[str | None]] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Share:
    """The documents whose hash falls from `low` to below `high`, both in [0, 1]."""

    low: float = 0.0
    high: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether it is every document."""
        return (self.low, self.high) == (0.0, 1.0)

    def holds(self, document: Document) -> bool:
        """Whether a document belongs to this share."""
        return self.whole or self.low <= hash_share(document) < self.high


def corpus_of(name: str, texts: Texts, share: Share, *, split_paragraphs: bool) -> Corpus:
    """The documents of `texts` that belong to `share`."""

    def read() -> Iterator[Document]:
        return filter(share.holds, documents_of(texts.read(), split_paragraphs=split_paragraphs))

    inputs = {**texts.inputs, "split_paragraphs": split_paragraphs, "share": [share.low, share.high]}
    return Corpus(name, inputs, texts.files, read, texts.extents)


def documents_of(paragraphs: Iterable[str | None], *, split_paragraphs: bool) -> Iterator[Document]:
    """Yields documents of sentences; empty ones are skipped.

    Args:
        paragraphs: paragraphs, with None after the last one of each document.
        split_paragraphs: whether paragraphs are cut into sentences.
    """
    document: Document = []
    size = 0
    for paragraph in paragraphs:
        for piece in _pieces(paragraph or ""):
            document.extend(split_sentences(piece) if split_paragraphs else [piece])
        size += len(paragraph or "")
        if document and (paragraph is None or size >= _LONGEST_DOCUMENT):
            yield document
            document = []
        if not document:
            size = 0
    if document:
        yield document


def hash_share(document: Iterable[str]) -> float:
    """Returns a number in [0, 1) that depends on the document's words alone, so that equal texts stay together."""
    words = " ".join(" ".join(document).split())
    digest = hashlib.blake2b(words.encode(), digest_size=8, person=b"held-out").digest()
    return int.from_bytes(digest, "big") / 2**64


def whole_files(files: Iterable[Path]) -> tuple[Extent, ...]:
    """The extents of files that are read from end to end."""
    return tuple((str(path.resolve()), 0, float("inf")) for path in files)


def _pieces(paragraph: str) -> Iterator[str]:
    start = 0
    while len(paragraph) - start > _LONGEST_PARAGRAPH:
        end = start + _LONGEST_PARAGRAPH
        space = paragraph.rfind(" ", start + 1, end)
        end = space if space > 0 else end
        if piece := paragraph[start:end].strip():
            yield piece
        start = end
    if piece := paragraph[start:].strip():
        yield piece
