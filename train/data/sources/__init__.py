"""Documents: where a corpus comes from and which part of it is held out.

A document is a list of sentences. `opening` turns the options of `data` into a corpus; each kind of source is a file
that turns its argument into paragraphs; `sentences` cuts these.
"""

from train.data.sources.corpus import Corpus, Document, Split, sentences_of
from train.data.sources.opening import CorpusOptions, open_corpus
from train.data.sources.sentences import split_sentences

__all__ = ["Corpus", "CorpusOptions", "Document", "Split", "open_corpus", "sentences_of", "split_sentences"]
