"""Tokenizers: read `spiece.model`, `vocab.txt` and `tokenizer.json`, or train one; same ids as the slow tokenizers.

Everything runs on the `tokenizers` library. A tokenizer is one pipeline that `tokenizer.json` can hold, so a saved
tokenizer returns the same ids wherever that file is read.
"""

from flax_lite.tokenization.load import load_tokenizer
from flax_lite.tokenization.tokenizer import Tokenizer
from flax_lite.tokenization.training import TokenizerSpec, parse_tokenizer_spec, train_tokenizer
from flax_lite.tokenization.trimming import trim_tokenizer

__all__ = ["Tokenizer", "TokenizerSpec", "load_tokenizer", "parse_tokenizer_spec", "train_tokenizer", "trim_tokenizer"]
