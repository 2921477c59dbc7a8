"""Tokenizes documents to blocks of tokens on all cores; the blocks do not depend on the number of workers."""

import functools
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from train.data.sources import Document, sentences_of
from train.data.tokens.shards import TokenBlock
from train.machine.workers import num_cores, ordered_map

if TYPE_CHECKING:
    from flax_lite.tokenization import Tokenizer

# A task of a worker, about half a second of work. A document is never split.
_BLOCK_CHARACTERS = 2**20
# A corpus of fewer blocks is tokenized in this process, which takes no longer than starting workers.
_BLOCKS_WITHOUT_WORKERS = 4


class TokenizedBlock(NamedTuple):
    """Consecutive documents, tokenized.

    Attributes:
        block: their tokens, without sentences and documents that have no token.
        documents: number of documents read.
        skipped: number of sentences without a token.
    """

    block: TokenBlock
    documents: int
    skipped: int


def tokenize_corpus(
    documents: Iterable[Document], tokenizer: "Tokenizer", *, split_paragraphs: bool, workers: int | None = None
) -> Iterator[TokenizedBlock]:
    """Yields documents as blocks of tokens, in order. Close the generator to stop the workers.

    Args:
        documents: documents as lists of paragraphs.
        tokenizer: encodes sentences without special tokens.
        split_paragraphs: whether paragraphs are split into sentences.
        workers: number of processes; one per core if None.

    Raises:
        RunError: if a worker was killed.
    """
    blocks = _document_blocks(documents)
    head = list(itertools.islice(blocks, _BLOCKS_WITHOUT_WORKERS))
    blocks = itertools.chain(head, blocks)
    workers = num_cores() if workers is None else workers
    if workers == 1 or len(head) < _BLOCKS_WITHOUT_WORKERS:
        for block in blocks:
            yield tokenize(block, tokenizer, split_paragraphs=split_paragraphs)
        return
    begin = functools.partial(_begin, tokenizer, split_paragraphs)
    yield from ordered_map(_tokenize_in_worker, blocks, workers=workers, initializer=begin)


def id_dtype(vocab_size: int) -> np.dtype[np.uint16] | np.dtype[np.int32]:
    """Returns the dtype in which ids are stored: two bytes if they suffice for the vocabulary."""
    return np.dtype(np.uint16) if vocab_size <= 2**16 else np.dtype(np.int32)


def tokenize(documents: list[Document], tokenizer: "Tokenizer", *, split_paragraphs: bool) -> TokenizedBlock:
    """Splits documents into sentences and tokenizes them."""
    sentences = [sentences_of(document, split_paragraphs=split_paragraphs) for document in documents]
    encoded = tokenizer.encode(list(itertools.chain.from_iterable(sentences)))
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    ids = np.fromiter(itertools.chain.from_iterable(encoded), id_dtype(tokenizer.vocab_size), lengths.sum())
    starts = np.concatenate([[0], np.cumsum(lengths)])  # of every sentence, then the number of tokens
    document_bounds = starts[np.concatenate([[0], np.cumsum([len(document) for document in sentences])])]
    return TokenizedBlock(
        TokenBlock(ids, starts[:-1][lengths > 0], document_bounds[:-1][np.diff(document_bounds) > 0]),
        len(documents),
        int((lengths == 0).sum()),
    )


def _document_blocks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    block: list[Document] = []
    characters = 0
    for document in documents:
        block.append(document)
        characters += sum(map(len, document))
        if characters >= _BLOCK_CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block


_in_worker: dict[str, functools.partial[TokenizedBlock]] = {}


def _begin(tokenizer: "Tokenizer", split_paragraphs: bool) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is one worker per core
    _in_worker["tokenize"] = functools.partial(tokenize, tokenizer=tokenizer, split_paragraphs=split_paragraphs)


def _tokenize_in_worker(documents: list[Document]) -> TokenizedBlock:
    return _in_worker["tokenize"](documents)
