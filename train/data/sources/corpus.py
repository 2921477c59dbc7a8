"""The corpus: documents that can be read repeatedly, and their split into training and held-out documents."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from train.data.sources.sentences import split_sentences
from train.errors import UserError

Split = Literal["train", "heldout"]
Document = list[str]  # of sentences, or of the paragraphs that they are cut from
Extent = tuple[str, float, float]  # a file, its first record, and the record after the last one

# A longer paragraph is split at white space to bound the memory; no real paragraph has a million characters.
_LONGEST_PARAGRAPH = 2**20
# A longer document is split between paragraphs, for the same reason; it is four times the King James Bible (4.3 MB).
_LONGEST_DOCUMENT = 2**24


class GeneratedText(NamedTuple):
    """The hash of text that is generated, listed among the files of a corpus."""

    hash: str


@dataclass(frozen=True)
class Corpus:
    """Documents that can be read repeatedly, always in the same order.

    Attributes:
        name: the name of the corpus in messages.
        inputs: everything that the documents depend on, as JSON values, except the contents of `files`.
        files: the files, or hashes of generated text; cache keys include hashes of their contents.
        read: starts a new pass over the documents, as lists of paragraphs.
        split_paragraphs: whether paragraphs are split into sentences; if not, they are sentences.
        extents: the range of records that is read of each file, to find text that two corpora share.
        size: the approximate number of characters; None if it is not known without reading.
    """

    name: str
    inputs: dict[str, object]
    files: tuple[Path | GeneratedText, ...]
    read: Callable[[], Iterator[Document]] = field(repr=False, compare=False)
    split_paragraphs: bool = False
    extents: tuple[Extent, ...] = ()
    size: float | None = None

    def documents(self) -> Iterator[Document]:
        """Yields every document as a list of sentences; raises as `paragraphs`."""
        return (sentences_of(document, split_paragraphs=self.split_paragraphs) for document in self.paragraphs())

    def paragraphs(self) -> Iterator[Document]:
        """Yields every document as a list of paragraphs.

        Raises:
            UserError: if there is no document, or a file cannot be read.
        """
        documents = self.read()
        first = next(documents, None)
        if first is None:
            raise UserError(
                f"{self.name} holds no document. A text file has one sentence or paragraph per line and a blank line "
                "between documents. A share (data.eval_fraction) is chosen by the hash of each document, so it needs "
                "enough documents. Documents of data.eval_source are excluded from the training text. Check the files, "
                "change the share, or give another data.eval_source."
            )
        return itertools.chain([first], documents)


@dataclass(frozen=True)
class ParagraphSource:
    """The paragraphs of a source, with None after the last paragraph of each document.

    Attributes:
        inputs: as in `Corpus`.
        files: as in `Corpus`.
        extents: as in `Corpus`.
        read: starts a new pass over the paragraphs.
        size: as in `Corpus`.
    """

    inputs: dict[str, object]
    files: tuple[Path, ...]
    extents: tuple[Extent, ...]
    read: Callable[[], Iterator[str | None]] = field(repr=False, compare=False)
    size: float | None = None


@dataclass(frozen=True)
class Share:
    """The documents whose hash is in [low, high), a part of [0, 1]."""

    low: float = 0.0
    high: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether every document belongs to this share."""
        return (self.low, self.high) == (0.0, 1.0)

    def holds(self, document: Document) -> bool:
        """Whether a document belongs to this share."""
        return self.whole or self.low <= hash_share(document) < self.high


def select_documents(name: str, texts: ParagraphSource, share: Share, *, split_paragraphs: bool) -> Corpus:
    """Creates the corpus of the documents of a source that belong to a share."""

    def read() -> Iterator[Document]:
        return filter(share.holds, documents_of(texts.read()))

    inputs = {**texts.inputs, "split_paragraphs": split_paragraphs, "share": [share.low, share.high]}
    size = None if texts.size is None else texts.size * (share.high - share.low)
    return Corpus(name, inputs, texts.files, read, split_paragraphs, texts.extents, size)


def exclude_documents(corpus: Corpus, held_out: Corpus) -> Corpus:
    """Creates the corpus of the documents that do not also occur in `held_out`, word for word.

    Every pass first reads `held_out` and stores an 8-byte hash of each of its documents.
    """

    def read() -> Iterator[Document]:
        excluded = set(map(_digest, held_out.read()))
        return (document for document in corpus.read() if _digest(document) not in excluded)

    inputs = {**corpus.inputs, "without": held_out.inputs, "own_files": len(corpus.files)}
    return dataclasses.replace(corpus, inputs=inputs, files=corpus.files + held_out.files, read=read)


def documents_of(paragraphs: Iterable[str | None]) -> Iterator[Document]:
    """Groups paragraphs into documents; empty documents are skipped.

    Args:
        paragraphs: paragraphs, with None after the last paragraph of each document.
    """
    document: Document = []
    size = 0
    for paragraph in paragraphs:
        document.extend(_pieces(paragraph or ""))
        size += len(paragraph or "")
        if document and (paragraph is None or size >= _LONGEST_DOCUMENT):
            yield document
            document = []
        if not document:
            size = 0
    if document:
        yield document


def sentences_of(document: Document, *, split_paragraphs: bool) -> Document:
    """Returns the sentences of a document; its paragraphs are the sentences if they are not split."""
    if not split_paragraphs:
        return document
    return [sentence for paragraph in document for sentence in split_sentences(paragraph)]


def hash_share(document: Iterable[str]) -> float:
    """Returns a number in [0, 1) that depends only on the words, so that equal texts are in the same share."""
    return int.from_bytes(_digest(document), "big") / 2**64


def whole_files(files: Iterable[Path]) -> tuple[Extent, ...]:
    """Returns the extents of files that are read completely."""
    return tuple((str(path.resolve()), 0, float("inf")) for path in files)


def _digest(document: Iterable[str]) -> bytes:
    words = " ".join(" ".join(document).split())
    return hashlib.blake2b(words.encode(), digest_size=8, person=b"held-out").digest()


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
