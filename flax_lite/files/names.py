"""Names of the files in a model's directory, as Hugging Face's tools have them."""

CONFIG = "config.json"
SENTENCEPIECE_FILE, JSON_FILE, VOCAB_FILE = "spiece.model", "tokenizer.json", "vocab.txt"
SETTINGS_FILE = "tokenizer_config.json"
SPECIALS_FILE, ADDED_FILE = "special_tokens_map.json", "added_tokens.json"
# One of the first is a tokenizer; the others say more of it.
VOCABULARIES = (SENTENCEPIECE_FILE, JSON_FILE, VOCAB_FILE)
TOKENIZER_FILES = (*VOCABULARIES, SETTINGS_FILE, SPECIALS_FILE, ADDED_FILE)


class NoTokenizerError(ValueError):
    """A place that was looked at holds no tokenizer; one that cannot be read is another matter."""
