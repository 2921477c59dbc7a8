"""How each key of the files of sentence-transformers is treated.

Sources: sentence-transformers 2.7, 5.1 and 6.2: SentenceTransformer.py (`_load_sbert_model`), models/Transformer.py,
Pooling.py, Normalize.py; since 6 base/model.py, base/modules/transformer.py, normalize.py,
sentence_transformer/model.py, modules/pooling.py.
"""

from collections.abc import Mapping

from flax_lite.files.settings import Table, inert, refused, used

# The older format of the pooling mode: one flag for each, in the order of concatenation.
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

MODULE: Table = {
    **used("type", why="one of the package's classes `Transformer`, `Pooling`, `Normalize`, `Dropout`"),
    **used("path", why="the directory of the module's files"),
    **inert("idx", "name", why="modules run in the order of the list"),
    **inert("kwargs", why="names of arguments of `encode`"),
}

POOLING: Table = {
    **used("pooling_mode", *FLAGS, why="mean, cls or max"),
    **inert("word_embedding_dimension", "embedding_dimension", why="the width is read from the model"),
    **inert("include_prompt", why="no prompt is prepended to a text"),
}

NORMALIZE: Table = {
    **refused(
        *("module_input_name", "module_output_name"),
        why="something other than the pooled vector is normalized",
        unless=(None, "sentence_embedding"),
    )
}

PROMPTS: Table = {
    **used("prompts", "default_prompt_name", why="the default prompt must be empty or missing"),
    **used("similarity_fn_name", why="how vectors are compared"),
    **inert("__version__", "requirements", why="a note"),
    **refused("model_type", why="the results are not sentence vectors", unless=(None, "SentenceTransformer")),
    **refused("truncate_dim", why="vectors are truncated"),
}

TRANSFORMER: Table = {
    **used("max_seq_length", why="the maximum length; overrides the tokenizer's"),
    **used("tokenizer_args", "processor_kwargs", why="`model_max_length` is the maximum length"),
    **used("processing_kwargs", why="`max_length` is the maximum length; overrides all others"),
    **used("model_args", "model_kwargs", "config_args", "config_kwargs", why="see below"),
    **used("modality_config", why="the output for texts must be `last_hidden_state`"),
    **refused(
        "do_lower_case", why="texts are lower-cased before the tokenizer: set it in tokenizer_config.json instead"
    ),
    **refused(
        "transformer_task", why="the outputs are not hidden states of an encoder", unless=(None, "feature-extraction")
    ),
    **refused("module_output_name", why="something other than the tokens is pooled", unless=(None, "token_embeddings")),
    **refused("tokenizer_name_or_path", why="the tokenizer belongs to another model"),
    **inert("unpad_inputs", "backend", "cache_dir", why="how vectors are computed, not which"),
    **inert("query_length", "document_length", "query_expansion", why="for `encode_query` and `encode_document`"),
}
# Keys of "modality_config" for texts.
TEXT: Table = {
    **refused("method", why="another method of the model is called", unless=("forward",)),
    **refused("method_output_name", why="another output is pooled", unless=("last_hidden_state",)),
}

_LOADING = {
    **inert(
        "trust_remote_code", "token", "use_auth_token", "cache_dir", "local_files_only", why="how files are located"
    ),
    **refused("revision", "subfolder", why="other files are read"),
}
# Arguments that the file passes to transformers. Others are refused, because they may change anything.
ARGUMENTS: Mapping[str, Table] = {
    "model_args": {
        **_LOADING,
        **inert("torch_dtype", "dtype", "attn_implementation", "device_map", "low_cpu_mem_usage", why="how, not which"),
        **inert("use_safetensors", "add_pooling_layer", "use_cache", why="hidden states do not depend on it"),
        **inert("provider", "export", "file_name", why="for another runtime"),
    },
    "config_args": {
        **_LOADING,
        **inert(
            "use_cache", "use_memory_efficient_attention", "unpad_inputs", "attn_implementation", why="how, not which"
        ),
    },
    "tokenizer_args": {
        **_LOADING,
        **used("model_max_length", why="the maximum length"),
        **inert("use_fast", "legacy", why="both kinds of tokenizer give the same ids"),
    },
    "processing_kwargs": {
        **used("max_length", why="the maximum length"),
        **inert("padding", "pad_to_multiple_of", "return_tensors", why="padding changes nothing"),
        **refused(
            "truncation", why="texts are not truncated at their end", unless=(True, "longest_first", "only_first")
        ),
    },
}
# Newer names of these arguments.
RENAMED = {"model_kwargs": "model_args", "config_kwargs": "config_args", "processor_kwargs": "tokenizer_args"}

TABLES: Mapping[str, Table] = {
    "modules.json (sentence-transformers), each module": MODULE,
    "1_Pooling/config.json": POOLING,
    "2_Normalize/config.json": NORMALIZE,
    "sentence_bert_config.json": TRANSFORMER,
    **{
        f"sentence_bert_config.json: {name}": table | refused("any other", why="it may change anything", unless=())
        for name, table in ARGUMENTS.items()
    },
    "sentence_bert_config.json: modality_config, text": TEXT,
    "config_sentence_transformers.json": PROMPTS,
}
