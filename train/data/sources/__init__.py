"""The documents of a corpus, read from its sources, and their split into training and held-out documents.

A document is a list of sentences. `opening` creates a corpus from the options; `text`, `parquet` and `tfds` read
paragraphs; `sentences` splits paragraphs into sentences.
"""

from train.data.sources.corpus import Corpus, Document, Split, sentences_of
from train.data.sources.opening import CorpusOptions, open_corpus
from train.data.sources.sentences import split_sentences

__all__ = ["Corpus", "CorpusOptions", "Document", "Split", "open_corpus", "sentences_of", "split_sentences"]
