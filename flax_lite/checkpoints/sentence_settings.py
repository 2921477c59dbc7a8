"""What is made of each key of the files of sentence-transformers.

Sources: sentence-transformers 2.7, 5.1 and 6.2: SentenceTransformer.py (`_load_sbert_model`), models/Transformer.py,
Pooling.py, Normalize.py; since 6 base/model.py, base/modules/transformer.py, normalize.py,
sentence_transformer/model.py, modules/pooling.py.
"""

from collections.abc import Mapping

from flax_lite.files.settings import Table, inert, refused, used

# The older way to name a pooling: one flag each, in the order in which several are put together.
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

MODULE: Table = {
    **used("type", why="one of the package's own `Transformer`, `Pooling`, `Normalize`, `Dropout`"),
    **used("path", why="where the module's files lie"),
    **inert("idx", "name", why="the order is that of the list"),
    **inert("kwargs", why="arguments of `encode` that the module would take"),
}

POOLING: Table = {
    **used("pooling_mode", *FLAGS, why="mean, cls or max"),
    **inert("word_embedding_dimension", "embedding_dimension", why="the width is the model's"),
    **inert("include_prompt", why="no prompt stands before a text"),
}

NORMALIZE: Table = {
    **refused(
        *("module_input_name", "module_output_name"),
        why="what is normalized is not the pooled vector",
        unless=(None, "sentence_embedding"),
    )
}

PROMPTS: Table = {
    **used("prompts", "default_prompt_name", why="an empty prompt, or none, by default"),
    **inert("similarity_fn_name", why="how vectors are compared, not what they are"),
    **inert("__version__", "requirements", why="a note"),
    **refused("model_type", why="its results are no sentence vectors", unless=(None, "SentenceTransformer")),
    **refused("truncate_dim", why="vectors are cut"),
}

TRANSFORMER: Table = {
    **used("max_seq_length", why="the length of a row, before what the tokenizer says"),
    **used("tokenizer_args", "processor_kwargs", why="`model_max_length` is the length of a row"),
    **used("processing_kwargs", why="`max_length` is the length of a row, before all others"),
    **used("model_args", "model_kwargs", "config_args", "config_kwargs", why="see below"),
    **used("modality_config", why="texts give `last_hidden_state`"),
    **refused(
        "do_lower_case", why="texts are lower-cased before the tokenizer: say so in tokenizer_config.json instead"
    ),
    **refused("transformer_task", why="tokens are no hidden states of an encoder", unless=(None, "feature-extraction")),
    **refused("module_output_name", why="what is pooled are no tokens", unless=(None, "token_embeddings")),
    **refused("tokenizer_name_or_path", why="the tokenizer is another model's"),
    **inert("unpad_inputs", "backend", "cache_dir", why="how it is computed, not what"),
    **inert("query_length", "document_length", "query_expansion", why="of `encode_query` and `encode_document`"),
}
# What "modality_config" may say of texts.
TEXT: Table = {
    **refused("method", why="the model is called in another way", unless=("forward",)),
    **refused("method_output_name", why="another output is pooled", unless=("last_hidden_state",)),
}

_LOADING = {
    **inert("trust_remote_code", "token", "use_auth_token", "cache_dir", "local_files_only", why="how files are found"),
    **refused("revision", "subfolder", why="other files are read"),
}
# Arguments that the file hands to transformers. One that is not listed is refused: it could be anything.
ARGUMENTS: Mapping[str, Table] = {
    "model_args": {
        **_LOADING,
        **inert("torch_dtype", "dtype", "attn_implementation", "device_map", "low_cpu_mem_usage", why="how, not what"),
        **inert("use_safetensors", "add_pooling_layer", "use_cache", why="tokens' states do not depend on it"),
        **inert("provider", "export", "file_name", why="of another runtime"),
    },
    "config_args": {
        **_LOADING,
        **inert("use_cache", "use_memory_efficient_attention", "unpad_inputs", "attn_implementation", why="how"),
    },
    "tokenizer_args": {
        **_LOADING,
        **used("model_max_length", why="the length of a row"),
        **inert("use_fast", "legacy", why="both kinds of tokenizer give the same"),
    },
    "processing_kwargs": {
        **used("max_length", why="the length of a row"),
        **inert("padding", "pad_to_multiple_of", "return_tensors", why="padding changes nothing"),
        **refused("truncation", why="texts are not cut at their end", unless=(True, "longest_first", "only_first")),
    },
}
# Newer names of the same.
RENAMED = {"model_kwargs": "model_args", "config_kwargs": "config_args", "processor_kwargs": "tokenizer_args"}

TABLES: Mapping[str, Table] = {
    "modules.json (sentence-transformers), each module": MODULE,
    "1_Pooling/config.json": POOLING,
    "2_Normalize/config.json": NORMALIZE,
    "sentence_bert_config.json": TRANSFORMER,
    **{
        f"sentence_bert_config.json: {name}": table | refused("any other", why="it could change anything", unless=())
        for name, table in ARGUMENTS.items()
    },
    "sentence_bert_config.json: modality_config, text": TEXT,
    "config_sentence_transformers.json": PROMPTS,
}
