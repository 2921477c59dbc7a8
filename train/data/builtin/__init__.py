"""The built-in corpus: text that the project generates from its own grammar, with the numbers it is held against.

Every document keeps the events that its sentences tell and the roles their words play, so that labeled tasks can be
made of the same text.
"""

from train.data.builtin.entropy import entropy_floor, unigram_entropy
from train.data.builtin.generator import DEFAULT_GRAMMAR, generate_corpus, generate_document
from train.data.builtin.grammar import WORDS_PER_SENTENCE, Document, Event, Grammar, Setting, Span

# Names the text, whatever the code that generates it looks like: a text that differs needs another name, or token
# caches and runs begun with this one would go on with the other. (Seven hashes: those of the files that first
# generated it, so that what was begun with them goes on.)
TEXT = (
    "4c7c18ce3dc98bf9e828b9d0bf02559a",
    "c57d96dea0fa7885159dd9006fcff247",
    "f13e2079b93dec95ae97f829e0618e1d",
    "df8a425a85b0649aea45cd073f658aed",
    "8968ff6d2a1021b9387c3b5e59431f37",
    "f2387b87e2ab62c436b0858b77f08974",
    "32b14eb40bcfd7f224d1c35191654b7b",
)

__all__ = [
    "DEFAULT_GRAMMAR",
    "TEXT",
    "WORDS_PER_SENTENCE",
    "Document",
    "Event",
    "Grammar",
    "Setting",
    "Span",
    "entropy_floor",
    "generate_corpus",
    "generate_document",
    "unigram_entropy",
]
