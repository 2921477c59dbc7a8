"""The built-in corpus: text that the project generates from its own grammar, with the numbers it is held against.

Every document keeps the events that its sentences tell and the roles their words play, so that labelled tasks can be
made of the same text.
"""

from train.data.builtin.entropy import entropy_floor, unigram_entropy
from train.data.builtin.generator import DEFAULT_GRAMMAR, generate_corpus, generate_document
from train.data.builtin.grammar import WORDS_PER_SENTENCE, Document, Event, Grammar, Setting, Span

__all__ = [
    "DEFAULT_GRAMMAR",
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
