"""The keys of a tokenizer's settings files, each used, inert or refused; and the supported tokenizer classes.

Source: transformers 4.57 tokenization_utils_base.py, tokenization_utils_fast.py, models/{bert,albert,distilbert}; 5.24
    tokenization_utils_tokenizers.py and the same models.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax_lite.files.names import CONFIG, JSON_FILE, SENTENCEPIECE_FILE, SETTINGS_FILE, VOCAB_FILE
from flax_lite.files.settings import OFF, Table, inert, refused, used

DECODER = "added_tokens_decoder"
# Lists or mappings of further special tokens; transformers 5 renamed the first to the second.
EXTRA_SPECIALS = ("additional_special_tokens", "extra_special_tokens")
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

SETTINGS: Table = {
    **used("tokenizer_class", why="which files count, and how they are read"),
    **used("do_lower_case", "strip_accents", "tokenize_chinese_chars", why="vocab.txt, and tokenizer.json of BERT"),
    **used("keep_accents", why="spiece.model"),
    **used(DECODER, *EXTRA_SPECIALS, *ROLES),
    **used("model_input_names", why="whether a pair has token types; ignored for a DistilBERT, which reads none"),
    **used("truncation_side"),
    **used("clean_up_tokenization_spaces", why="the text of fill-mask; default: true for vocab.txt"),
    **used("model_max_length", "max_len", why="the maximum length of a sentence-transformers directory"),
    **inert(
        *("name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file", "init_inputs", "_commit_hash"),
        *("processor_class", "use_fast", "backend", "is_local", "local_files_only", "trust_remote_code", "device_map"),
        why="provenance",
    ),
    **inert("auto_map", why="remote code is never run"),
    **inert("chat_template", "response_schema", "verbose", "deprecation_warnings"),
    **inert("spaces_between_special_tokens", why="only slow classes read it, for added tokens"),
    **inert(
        *("max_length", "stride", "truncation_strategy", "truncation", "padding", "pad_to_multiple_of"),
        *("pad_token_type_id", "return_token_type_ids", "return_tensors"),
        why="defaults of calls; the caller decides padding and truncation",
    ),
    **inert("add_prefix_space", "trim_offsets", "unk_id", "legacy", why="for other kinds of vocabulary"),
    **inert("_spm_precompiled_charsmap", why="tokenizer.json holds it"),
    **refused("padding_side", why="rows are padded on the right", unless=(None, "right")),
    **refused("do_basic_tokenize", why="text is not split into words as by BERT", unless=(None, True)),
    **refused(
        *("word_tokenizer_type", "subword_tokenizer_type", "jumanpp_kwargs", "mecab_kwargs", "sudachi_kwargs"),
        why="text is not split into words as by BERT",
        unless=(*OFF, "basic", "wordpiece"),
    ),
    **refused("never_split", why="some words are not split into pieces"),
    **refused("split_special_tokens", why="special tokens in a text are split into pieces"),
    **refused("wordpieces_prefix", why="pieces inside a word have another prefix", unless=(None, "##")),
    **refused("remove_space", why="white space is kept", unless=(None, True)),
    **refused("sp_model_kwargs", why="segmentation is random", unless=(None, {}, {"enable_sampling": False})),
    **refused("add_bos_token", "add_eos_token", why="rows have other special tokens than their template says"),
    **refused("from_slow", why="tokenizer.json is ignored"),
    **refused("normalizer", "pre_tokenizer", "mask_padding", why="text is normalized or split differently"),
}
SPECIALS: Table = used(*ROLES, *EXTRA_SPECIALS)
PIPELINE: Table = {
    **used("version", "model", "normalizer", "pre_tokenizer", "decoder", "added_tokens"),
    **used("post_processor", why="the special tokens of a row, and the token types of a pair"),
    **used("truncation", why="its direction; the caller decides the length"),
    **used("padding", why="its direction; rows are padded on the right"),
}


@dataclasses.dataclass(frozen=True)
class TokenizerClass:
    """How transformers reads the files of a tokenizer class.

    Attributes:
        files: vocabulary files in order of preference.
        token_types: whether rows have token types.
        bert: whether the settings, with BERT's defaults, override the case and accents of tokenizer.json.
    """

    files: tuple[str, ...]
    token_types: bool = True
    bert: bool = False


_BERT = TokenizerClass((JSON_FILE, VOCAB_FILE), bert=True)
_PIPELINE = TokenizerClass((JSON_FILE,))
CLASSES: Mapping[str, TokenizerClass] = {
    "BertTokenizer": _BERT,
    "DistilBertTokenizer": dataclasses.replace(_BERT, token_types=False),
    # Aliases of BertTokenizer.
    **dict.fromkeys(("ConvBertTokenizer", "ElectraTokenizer", "LxmertTokenizer", "MobileBertTokenizer"), _BERT),
    "AlbertTokenizer": TokenizerClass((SENTENCEPIECE_FILE, JSON_FILE)),
    "AlbertTokenizerFast": TokenizerClass((JSON_FILE, SENTENCEPIECE_FILE)),
    # Classes that read only tokenizer.json: of transformers 4, of transformers 5, and of multilingual models.
    "PreTrainedTokenizerFast": _PIPELINE,
    "TokenizersBackend": _PIPELINE,
    "XLMRobertaTokenizer": dataclasses.replace(_PIPELINE, token_types=False),
}
# The default class by model_type, for directories that name none; their files may still be of another class.
MODEL_CLASSES = {"albert": "AlbertTokenizer", "bert": "BertTokenizer", "distilbert": "DistilBertTokenizer"}


def class_of(name: str | None) -> TokenizerClass | None:
    """Returns the entry of `CLASSES` for a name, with or without its "Fast"; None if the class is not supported."""
    return CLASSES.get(name or "", CLASSES.get((name or "").removesuffix("Fast")))


def tokenizer_class(settings: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """Returns the tokenizer class that a directory names, found as transformers does; None if it names none.

    Args:
        settings: the content of tokenizer_config.json.
        config: the content of config.json.

    Raises:
        ValueError: if the class is not supported.
    """
    for file, values in ((SETTINGS_FILE, settings), (CONFIG, config)):
        name = values.get("tokenizer_class")
        if name is None:
            continue
        if not isinstance(name, str) or class_of(name) is None:
            raise ValueError(
                f"{file} has tokenizer_class={name!r:.100}, which may split text into words differently; expected one "
                f"of {', '.join(CLASSES)}"
            )
        return name
    return None
