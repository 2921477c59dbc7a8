"""What a tokenizer's settings files may say, key by key, and which classes of tokenizers are read.

Source: transformers 4.57 tokenization_utils_base.py, tokenization_utils_fast.py, models/{bert,albert,distilbert}; 5.24
    tokenization_utils_tokenizers.py and the same models.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax_lite.files.names import CONFIG, JSON_FILE, SENTENCEPIECE_FILE, SETTINGS_FILE, VOCAB_FILE
from flax_lite.files.settings import OFF, Table, inert, refused, used

DECODER = "added_tokens_decoder"
# Lists or mappings of further specials; the second is the first's name in transformers 5.
MORE_SPECIALS = ("additional_special_tokens", "extra_special_tokens")
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

SETTINGS: Table = {
    **used("tokenizer_class", why="which files count, and how they are read"),
    **used("do_lower_case", "strip_accents", "tokenize_chinese_chars", why="vocab.txt, and tokenizer.json of BERT"),
    **used("keep_accents", why="spiece.model"),
    **used(DECODER, *MORE_SPECIALS, *ROLES),
    **used("model_input_names", why="without token_type_ids, a pair has none; not of a DistilBERT, which reads none"),
    **used("truncation_side"),
    **used("clean_up_tokenization_spaces", why="the text of fill-mask; by default, a vocab.txt's is tidied up"),
    **used("model_max_length", "max_len", why="the longest row of a sentence-transformers directory; kept"),
    **inert(
        *("name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file", "init_inputs", "_commit_hash"),
        *("processor_class", "use_fast", "backend", "is_local", "local_files_only", "trust_remote_code", "device_map"),
        why="where it came from",
    ),
    **inert("auto_map", why="code of strangers is never run"),
    **inert("chat_template", "response_schema", "verbose", "deprecation_warnings"),
    **inert("spaces_between_special_tokens", why="only slow classes read it, of added tokens"),
    **inert(
        *("max_length", "stride", "truncation_strategy", "truncation", "padding", "pad_to_multiple_of"),
        *("pad_token_type_id", "return_token_type_ids", "return_tensors"),
        why="of calls; rows are padded and cut as the caller says",
    ),
    **inert("add_prefix_space", "trim_offsets", "unk_id", "legacy", why="other kinds of vocabularies"),
    **inert("_spm_precompiled_charsmap", why="tokenizer.json holds it"),
    **refused("padding_side", why="rows are padded on the right", unless=(None, "right")),
    **refused("do_basic_tokenize", why="text is split into words in another way than BERT's", unless=(None, True)),
    **refused(
        *("word_tokenizer_type", "subword_tokenizer_type", "jumanpp_kwargs", "mecab_kwargs", "sudachi_kwargs"),
        why="text is split into words in another way than BERT's",
        unless=(*OFF, "basic", "wordpiece"),
    ),
    **refused("never_split", why="some words are left whole"),
    **refused("split_special_tokens", why="specials in a text are spelled out"),
    **refused("wordpieces_prefix", why="pieces inside a word begin otherwise", unless=(None, "##")),
    **refused("remove_space", why="white space counts", unless=(None, True)),
    **refused("sp_model_kwargs", why="segmentation is drawn at random", unless=(None, {}, {"enable_sampling": False})),
    **refused("add_bos_token", "add_eos_token", why="rows have other specials than their template says"),
    **refused("from_slow", why="tokenizer.json is left out"),
    **refused("normalizer", "pre_tokenizer", "mask_padding", why="the text is treated in another way"),
}
SPECIALS: Table = used(*ROLES, *MORE_SPECIALS)
PIPELINE: Table = {
    **used("version", "model", "normalizer", "pre_tokenizer", "decoder", "added_tokens"),
    **used("post_processor", why="the specials of a row, and the types of a pair"),
    **used("truncation", why="its direction; rows are cut as the caller says"),
    **used("padding", why="its direction; rows are padded on the right"),
}


@dataclasses.dataclass(frozen=True)
class TokenizerClass:
    """How transformers reads the files of a tokenizer class.

    Attributes:
        files: its vocabularies; the first that is there counts.
        token_types: whether its rows have token types, with a model that has some.
        bert: whether the settings rule over what tokenizer.json says of case and accents, with the defaults of BERT.
    """

    files: tuple[str, ...]
    token_types: bool = True
    bert: bool = False


_BERT = TokenizerClass((JSON_FILE, VOCAB_FILE), bert=True)
_PIPELINE = TokenizerClass((JSON_FILE,))
CLASSES: Mapping[str, TokenizerClass] = {
    "BertTokenizer": _BERT,
    "DistilBertTokenizer": dataclasses.replace(_BERT, token_types=False),
    # BERT's under another name.
    **dict.fromkeys(("ConvBertTokenizer", "ElectraTokenizer", "LxmertTokenizer", "MobileBertTokenizer"), _BERT),
    "AlbertTokenizer": TokenizerClass((SENTENCEPIECE_FILE, JSON_FILE)),
    "AlbertTokenizerFast": TokenizerClass((JSON_FILE, SENTENCEPIECE_FILE)),
    # Whatever its tokenizer.json says: of transformers 4, of 5, and of multilingual models.
    "PreTrainedTokenizerFast": _PIPELINE,
    "TokenizersBackend": _PIPELINE,
    "XLMRobertaTokenizer": dataclasses.replace(_PIPELINE, token_types=False),
}
# The class of a directory that names none, by its model_type; it may hold the files of another one all the same.
MODEL_CLASSES = {"albert": "AlbertTokenizer", "bert": "BertTokenizer", "distilbert": "DistilBertTokenizer"}


def class_of(name: str | None) -> TokenizerClass | None:
    """How the class of a name is read, with or without its "Fast"; None where it is not."""
    return CLASSES.get(name or "", CLASSES.get((name or "").removesuffix("Fast")))


def tokenizer_class(settings: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """The class that a directory names for its tokenizer, as transformers finds it; None if it names none.

    Args:
        settings: the content of tokenizer_config.json.
        config: the content of config.json.

    Raises:
        ValueError: for one that splits texts in a way of its own.
    """
    for file, values in ((SETTINGS_FILE, settings), (CONFIG, config)):
        name = values.get("tokenizer_class")
        if name is None:
            continue
        if not isinstance(name, str) or class_of(name) is None:
            raise ValueError(
                f"{file} says tokenizer_class={name!r:.100}: text may be split into words in another way; what can be "
                f"read is {', '.join(CLASSES)}"
            )
        return name
    return None
