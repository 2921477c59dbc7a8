"""Tokenizers: read `spiece.model`, `vocab.txt` and `tokenizer.json`, or train one; ids equal the slow reference's.

Everything runs on the `tokenizers` library. A tokenizer is one pipeline that `tokenizer.json` can hold, so that a saved
tokenizer gives the same ids wherever that file is read.
"""

from flax_lite.tokenization.load import load_tokenizer
from flax_lite.tokenization.tokenizer import Tokenizer
from flax_lite.tokenization.training import TokenizerSpec, parse_tokenizer_spec, train_tokenizer
from flax_lite.tokenization.trimming import trim_tokenizer

__all__ = ["Tokenizer", "TokenizerSpec", "load_tokenizer", "parse_tokenizer_spec", "train_tokenizer", "trim_tokenizer"]
