"""Names of the files in a model's directory, as Hugging Face's tools have them."""

CONFIG = "config.json"
SENTENCEPIECE_FILE, JSON_FILE, VOCAB_FILE = "spiece.model", "tokenizer.json", "vocab.txt"
CHINESE_VOCAB_FILE = "vocab_chinese.txt"  # in Google's Chinese ALBERT releases
SETTINGS_FILE = "tokenizer_config.json"
SPECIALS_FILE, ADDED_FILE = "special_tokens_map.json", "added_tokens.json"
# Each of VOCABULARIES is enough for a tokenizer; the other files hold its settings.
VOCABULARIES = (SENTENCEPIECE_FILE, JSON_FILE, VOCAB_FILE)
TOKENIZER_FILES = (*VOCABULARIES, SETTINGS_FILE, SPECIALS_FILE, ADDED_FILE)
# The largest tokenizers in use are below 40 MB: a larger file is no tokenizer, and is not read into memory.
MAX_TOKENIZER_BYTES = 64 * 2**20


class NoTokenizerError(ValueError):
    """Raised where no tokenizer is found; a tokenizer that cannot be read raises another ValueError."""
