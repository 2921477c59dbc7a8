"""What a corpus is, how paragraphs become documents, and which documents are held out."""

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
Extent = tuple[str, float, float]  # a file, and its first record and the one after the last

# A longer paragraph is cut at white space, so that memory stays bounded; no real one is a million characters.
_LONGEST_PARAGRAPH = 2**20
# A longer document is cut between paragraphs, for the same reason; four times the King James Bible (4.3 MB).
_LONGEST_DOCUMENT = 2**24


class GeneratedText(NamedTuple):
    """Contents that stand in no file, and their hash: text that the project generates."""

    hash: str


@dataclass(frozen=True)
class Corpus:
    """Documents that can be read more than once, always in the same order.

    Attributes:
        name: what a person calls it, for messages.
        inputs: everything that the documents depend on, as JSON values, except the contents of `files`.
        files: the files read, or what stands for one; their contents belong to the key of whatever is made from the
            corpus.
        read: starts a new pass over the documents, as paragraphs.
        split_paragraphs: whether paragraphs are cut into sentences, or are sentences already.
        extents: what is read of which file, to find text that two corpora share.
        size: about how many characters there are, where that is known without reading them.
    """

    name: str
    inputs: dict[str, object]
    files: tuple[Path | GeneratedText, ...]
    read: Callable[[], Iterator[Document]] = field(repr=False, compare=False)
    split_paragraphs: bool = False
    extents: tuple[Extent, ...] = ()
    size: float | None = None

    def documents(self) -> Iterator[Document]:
        """Yields every document, as sentences. Raises as `paragraphs`."""
        return (sentences_of(document, split_paragraphs=self.split_paragraphs) for document in self.paragraphs())

    def paragraphs(self) -> Iterator[Document]:
        """Yields every document, as paragraphs.

        Raises:
            UserError: if there is none, or a file cannot be read.
        """
        documents = self.read()
        first = next(documents, None)
        if first is None:
            raise UserError(
                f"{self.name} holds no document. A text file holds a sentence or paragraph a line and a blank line "
                "between documents; a share (data.eval_fraction) is drawn by the hash of each document's text, so it "
                "needs enough documents, and what data.eval_source holds is left out of the training text. Check the "
                "files, change the share, or give another data.eval_source."
            )
        return itertools.chain([first], documents)


@dataclass(frozen=True)
class ParagraphSource:
    """What a kind of source gives: paragraphs, with None after the last one of each document.

    Attributes:
        inputs: as of `Corpus`.
        files: as of `Corpus`.
        extents: as of `Corpus`.
        read: starts a new pass over the paragraphs.
        size: as of `Corpus`.
    """

    inputs: dict[str, object]
    files: tuple[Path, ...]
    extents: tuple[Extent, ...]
    read: Callable[[], Iterator[str | None]] = field(repr=False, compare=False)
    size: float | None = None


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


def select_documents(name: str, texts: ParagraphSource, share: Share, *, split_paragraphs: bool) -> Corpus:
    """The documents of `texts` that belong to `share`."""

    def read() -> Iterator[Document]:
        return filter(share.holds, documents_of(texts.read()))

    inputs = {**texts.inputs, "split_paragraphs": split_paragraphs, "share": [share.low, share.high]}
    size = None if texts.size is None else texts.size * (share.high - share.low)
    return Corpus(name, inputs, texts.files, read, split_paragraphs, texts.extents, size)


def exclude_documents(corpus: Corpus, held_out: Corpus) -> Corpus:
    """The documents of `corpus` that `held_out` does not hold as well, word for word.

    A pass reads `held_out` first and keeps eight bytes of hash of each of its documents.
    """

    def read() -> Iterator[Document]:
        excluded = set(map(_digest, held_out.read()))
        return (document for document in corpus.read() if _digest(document) not in excluded)

    inputs = {**corpus.inputs, "without": held_out.inputs, "own_files": len(corpus.files)}
    return dataclasses.replace(corpus, inputs=inputs, files=corpus.files + held_out.files, read=read)


def documents_of(paragraphs: Iterable[str | None]) -> Iterator[Document]:
    """Yields documents of paragraphs; empty ones are skipped.

    Args:
        paragraphs: paragraphs, with None after the last one of each document.
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
    """The sentences of a document: those of its paragraphs, or these themselves."""
    if not split_paragraphs:
        return document
    return [sentence for paragraph in document for sentence in split_sentences(paragraph)]


def hash_share(document: Iterable[str]) -> float:
    """Returns a number in [0, 1) that depends on the document's words alone, so that equal texts stay together."""
    return int.from_bytes(_digest(document), "big") / 2**64


def whole_files(files: Iterable[Path]) -> tuple[Extent, ...]:
    """The extents of files that are read from end to end."""
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
