"""How keys of config.json that are no fields of a configuration are treated: used, inert, or refused by name.

Rows of one family are its configuration's `json_settings`. Sources: transformers 4.57 and 5 (configuration_utils.py,
modeling_utils.py, pipelines, models/bert, albert, distilbert), google-research/bert and albert (modeling.py).
"""

from collections.abc import Mapping

from flax_lite.files.settings import OFF, Setting, inert, refused, used

_GENERATION = (
    *("max_length", "min_length", "max_new_tokens", "min_new_tokens", "do_sample", "early_stopping", "num_beams"),
    *("num_beam_groups", "temperature", "top_k", "top_p", "min_p", "typical_p", "diversity_penalty"),
    *("repetition_penalty", "encoder_repetition_penalty", "length_penalty", "exponential_decay_length_penalty"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "force_words_ids"),
    *("num_return_sequences", "output_scores", "output_logits", "return_dict_in_generate", "forced_bos_token_id"),
    *("forced_eos_token_id", "remove_invalid_values", "suppress_tokens", "begin_suppress_tokens", "max_time"),
    *("renormalize_logits", "penalty_alpha", "forced_decoder_ids", "guidance_scale", "decoder_start_token_id"),
    *("stop_strings", "epsilon_cutoff", "eta_cutoff", "cache_implementation", "use_cache"),
)

_USED = {
    **used("model_type", why="the family"),
    **used("architectures", why="the head that must be present"),
    **used("id2label", why="the labels"),
    **used("num_labels", why="the number of labels, without `id2label`"),
    **used("label2id", why="must agree with the labels if there is no `id2label`; otherwise not read"),
}

_INERT = {
    **inert("transformers_version", "_name_or_path", "name_or_path", "_commit_hash", "finetuning_task", why="a note"),
    **inert(
        *("dtype", "torch_dtype", "use_bfloat16", "_pre_quantization_dtype"),
        why="parameters are read as float32 unless `param_dtype` says otherwise",
    ),
    **inert(
        *("output_attentions", "output_hidden_states", "output_past", "return_dict", "use_return_dict"),
        *("tie_last_hidden_states", "return_all_scores"),
        why="which outputs are returned: an argument of the call",
    ),
    **inert(
        *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
        *("_attn_implementation_autoset", "experts_implementation", "_experts_implementation", "use_flash_attn"),
        *("chunk_size_feed_forward", "gradient_checkpointing", "torchscript", "tf_legacy_loss", "unpad_inputs"),
        *("fusion_config", "compile_config", "distributed_config", "use_memory_efficient_attention"),
        *("base_model_tp_plan", "base_model_pp_plan", "base_model_ep_plan"),
        why="how the function is computed, not which",
    ),
    **inert("init_std", "initializer_factor", why="initial values of parameters that no file holds"),
    **inert(*_GENERATION, "prefix", "task_specific_params", why="text generation"),
    **inert(
        *("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id"),
        why="read from the tokenizer's files",
    ),
    **inert("tokenizer_class", why="not part of the model: read with the tokenizer's files"),
    **inert(
        *("is_encoder_decoder", "tie_encoder_decoder", "cross_attention_hidden_size", "is_causal"),
        why="not read by encoder classes",
    ),
    **inert("is_decoder", "add_cross_attention", why="read by BERT's class only"),
    **inert(
        *("auto_map", "custom_pipelines"),
        why="code of a repository is never run: the family's class is used, as in transformers without "
        "`trust_remote_code`",
    ),
    **inert("adapters", why="adapter weights in the file raise an error that lists their tensors"),
    **inert(
        *("function_to_apply", "sentence_transformers", "sbert_ce_default_activation_function"),
        why="for cross-encoders; `function_to_apply` is an option of text classification, and transformers' pipeline "
        "ignores these keys too",
    ),
    **inert("_num_labels", why="transformers reads `num_labels`"),
    **inert("embedding_size", "attention_head_size", "head_dim", why="weights of another size raise an error"),
    **inert(
        *("directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"),
        *("pooler_size_per_head", "pooler_type", "down_scale_factor", "gap_size", "net_structure_type"),
        "num_memory_blocks",
        why="not read by Google's code",
    ),
    **inert("transformers.js_config", "export_model_type", "neuron", "emb_pooler", why="for another tool"),
}

_REFUSED = {
    **refused("pruned_heads", why="attention heads are removed"),
    **refused("per_layer_config", why="layers differ from each other"),
    **refused(
        *("quantization_config", "compression_config", "sparsity_config"),
        why="the weights are not stored as plain numbers: save the model in float32, float16 or bfloat16",
    ),
    **refused(
        "transformers_weights",
        why="the weights are in a file of another name: rename it",
        unless=(*OFF, "model.safetensors", "model.safetensors.index.json"),
    ),
    **refused("configuration_files", why="another file replaces config.json: rename that file"),
    # Keys of other encoders that ship custom code with a config.json of BERT.
    **refused(
        "alibi", "use_alibi", "alibi_starting_size", why="positions are linear biases of the attention scores (ALiBi)"
    ),
    **refused(
        *("rope_theta", "rope_scaling", "rope_parameters", "rotary_emb_fraction", "rotary_emb_base", "rotary_value"),
        why="positions rotate queries and keys (RoPE)",
    ),
    **refused("ln_type", why="LayerNorm is applied before attention", unless=(*OFF, "postln")),
    **refused("prenorm", "normalize_before", why="LayerNorm is applied before attention"),
    **refused("layer_norm_type", why="the normalization is not LayerNorm", unless=(*OFF, "layer_norm")),
    **refused("use_rms_norm", why="the normalization is not LayerNorm"),
    **refused("feed_forward_type", why="the feed-forward layer differs", unless=(*OFF, "original")),
    **refused(
        "sliding_window", "local_attention", "attention_window", why="attention is restricted to a part of the sequence"
    ),
}

# Rows of every family; a family's rows override them.
COMMON: Mapping[str, Setting] = {**_USED, **_INERT, **_REFUSED}
# For the families that have several kinds of positions in transformers 4.
RELATIVE_POSITIONS = refused(
    "position_embedding_type", why="positions are not added to the embeddings", unless=("absolute",)
)
