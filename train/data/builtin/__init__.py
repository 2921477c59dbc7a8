"""The built-in corpus: text generated from a small grammar, with the baselines and the entropy floor for its losses.

Every document keeps the event that each sentence describes and the role of each word, so that labeled tasks can be
derived from the same text.
"""

from train.data.builtin.entropy import entropy_floor
from train.data.builtin.generator import DEFAULT_GRAMMAR, generate_corpus, generate_document
from train.data.builtin.grammar import WORDS_PER_SENTENCE, Document, Event, Grammar, Setting, Span

# Identifies the generated text, independent of the code that generates it. Change it whenever the text changes:
# otherwise token caches and runs that started with the old text would continue with the new one. (These are the hashes
# of the seven files that first generated the text, kept so that existing caches and runs stay valid.)
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
]
