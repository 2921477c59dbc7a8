"""Fixtures for tests of the data pipeline: a corpus of random words and a tokenizer that needs no training."""

import hashlib
import zlib

import numpy as np
import pytest

from flax_lite.rows.recipe import TokenizerInfo
from flax_lite.tokenization import load_tokenizer
from train.data.sources import CorpusOptions, open_corpus
from train.data.tokens.preparation import build_store


class WordTokenizer:
    """Splits words into pieces of three letters; ids are hashes, in the lower half for pieces that start a word."""

    pad_id, unk_id, cls_id, sep_id, mask_id = range(5)
    special_ids = (0, 1, 2, 3, 4)

    def __init__(self, vocab_size=2000):
        self.vocab_size = vocab_size
        self.starts_word = np.arange(vocab_size) < vocab_size // 2
        self.fingerprint = hashlib.sha256(str(vocab_size).encode()).hexdigest()
        self.encoded = 0

    def encode(self, texts):
        self.encoded += len(texts)
        return [[self._id(word, start) for word in text.split() for start in range(0, len(word), 3)] for text in texts]

    def _id(self, word, start):
        if word == "unknown":
            return self.unk_id
        half = self.vocab_size // 2
        number = zlib.crc32(word[start : start + 3].encode())
        return half + number % half if start else 5 + number % (half - 5)


def write_documents(path, documents):
    path.write_text("\n\n".join("\n".join(sentences) for sentences in documents) + "\n", encoding="utf-8")
    return path


def random_documents(seed, count):
    """Generates documents of 1 to 30 sentences of 3 to 25 words of 1 to 8 letters."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))

    def word():
        return "".join(letters[rng.integers(0, 26, rng.integers(1, 9))])

    lexicon = [word() for _ in range(3000)]
    return [
        [
            " ".join(lexicon[index] for index in rng.integers(0, len(lexicon), rng.integers(3, 26)))
            for _ in range(rng.integers(1, 31))
        ]
        for _ in range(count)
    ]


@pytest.fixture(scope="session")
def tokenizer():
    return WordTokenizer()


@pytest.fixture(scope="session")
def documents():
    return random_documents(0, 300)


@pytest.fixture(scope="session")
def corpus_file(documents, tmp_path_factory):
    return write_documents(tmp_path_factory.mktemp("corpus") / "corpus.txt", documents)


@pytest.fixture(scope="session")
def store(corpus_file, tokenizer, tmp_path_factory):
    corpus = open_corpus(CorpusOptions(source=f"text:{corpus_file}"), "train")
    return build_store(corpus, tokenizer, cache_dir=tmp_path_factory.mktemp("cache"), log=lambda line: None)


@pytest.fixture(scope="session")
def tokenizer_info(tokenizer):
    return TokenizerInfo.of(tokenizer)


@pytest.fixture(scope="session")
def novel_pieces(shared_data, shared_temp):
    """A novel as 250,000 tokens of ALBERT's published vocabulary: the store and the tokenizer information."""
    pieces = load_tokenizer(shared_data / "tokenizers" / "albert" / "spiece.model")
    corpus = open_corpus(CorpusOptions(source=f"text:{shared_data}/pretrain/novels/Eliot_Felix_1866.txt"), "train")
    cache = shared_temp / "novel_pieces"  # shared by the test processes
    return build_store(corpus, pieces, cache_dir=cache, log=lambda line: None), TokenizerInfo.of(pieces)
