"""Names of the files in a model's directory, as Hugging Face's tools have them."""

CONFIG = "config.json"
SENTENCEPIECE_FILE, JSON_FILE, VOCAB_FILE = "spiece.model", "tokenizer.json", "vocab.txt"
CHINESE_VOCAB_FILE = "vocab_chinese.txt"  # what Google's Chinese ALBERTs call theirs
SETTINGS_FILE = "tokenizer_config.json"
SPECIALS_FILE, ADDED_FILE = "special_tokens_map.json", "added_tokens.json"
# One of the first is a tokenizer; the others say more of it.
VOCABULARIES = (SENTENCEPIECE_FILE, JSON_FILE, VOCAB_FILE)
TOKENIZER_FILES = (*VOCABULARIES, SETTINGS_FILE, SPECIALS_FILE, ADDED_FILE)
# The largest tokenizers in use are below 40 MB: a larger file is something else, and is not read into memory.
MAX_TOKENIZER_BYTES = 64 * 2**20


class NoTokenizerError(ValueError):
    """A place that was looked at holds no tokenizer; one that cannot be read is another matter."""
