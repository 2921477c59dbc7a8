"""What is made of each key of a config.json that is no field of a configuration: known to be inert, or refused by name.

A family's own rows are its configuration's `json_settings`. Sources: transformers 4.57 and 5 (configuration_utils.py,
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
    **used("architectures", why="which head may not be missing"),
    **used("id2label", why="the labels"),
    **used("num_labels", why="how many labels, where `id2label` is not there"),
    **used("label2id", why="has to say nothing else than the labels where `id2label` is not there; else not read"),
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
        why="what else is returned: an argument of the call",
    ),
    **inert(
        *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
        *("_attn_implementation_autoset", "experts_implementation", "_experts_implementation", "use_flash_attn"),
        *("chunk_size_feed_forward", "gradient_checkpointing", "torchscript", "tf_legacy_loss", "unpad_inputs"),
        *("fusion_config", "compile_config", "distributed_config", "use_memory_efficient_attention"),
        *("base_model_tp_plan", "base_model_pp_plan", "base_model_ep_plan"),
        why="how it is computed, not what",
    ),
    **inert("init_std", "initializer_factor", why="of initial values, where no file holds them"),
    **inert(*_GENERATION, "prefix", "task_specific_params", why="of text generation"),
    **inert(
        *("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id"),
        why="the tokenizer's files say which tokens stand where",
    ),
    **inert("tokenizer_class", why="not the model's: it is read with the tokenizer's files"),
    **inert(
        *("is_encoder_decoder", "tie_encoder_decoder", "cross_attention_hidden_size", "is_causal"),
        why="an encoder's class does not read it",
    ),
    **inert("is_decoder", "add_cross_attention", why="only BERT's class reads it"),
    **inert(
        *("auto_map", "custom_pipelines"),
        why="a repository's code is never run: the family's own class is read, as in transformers without "
        "`trust_remote_code`",
    ),
    **inert("adapters", why="an adapter in the file itself is an error that lists its tensors"),
    **inert(
        *("function_to_apply", "sentence_transformers", "sbert_ce_default_activation_function"),
        why="for cross-encoders: `function_to_apply` is an option of text classification, and transformers' pipeline "
        "decides without these as well",
    ),
    **inert("_num_labels", why="transformers reads `num_labels`"),
    **inert("embedding_size", "attention_head_size", "head_dim", why="weights of another size are an error"),
    **inert(
        *("directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"),
        *("pooler_size_per_head", "pooler_type", "down_scale_factor", "gap_size", "net_structure_type"),
        "num_memory_blocks",
        why="Google's code does not read it",
    ),
    **inert("transformers.js_config", "export_model_type", "neuron", "emb_pooler", why="of another tool"),
}

_REFUSED = {
    **refused("pruned_heads", why="attention heads are left out"),
    **refused("per_layer_config", why="layers differ from each other"),
    **refused(
        *("quantization_config", "compression_config", "sparsity_config"),
        why="the weights are not stored as plain numbers: save the model in float32, float16 or bfloat16",
    ),
    **refused(
        "transformers_weights",
        why="the weights lie in a file of another name: rename it",
        unless=(*OFF, "model.safetensors", "model.safetensors.index.json"),
    ),
    **refused("configuration_files", why="another file takes the place of config.json: rename that one"),
    # What the authors of other encoders write into a BERT's config.json beside code of their own.
    **refused("alibi", "use_alibi", "alibi_starting_size", why="positions are slopes of attention (ALiBi)"),
    **refused(
        *("rope_theta", "rope_scaling", "rope_parameters", "rotary_emb_fraction", "rotary_emb_base", "rotary_value"),
        why="positions turn queries and keys (RoPE)",
    ),
    **refused("ln_type", why="LayerNorm stands before attention", unless=(*OFF, "postln")),
    **refused("prenorm", "normalize_before", why="LayerNorm stands before attention"),
    **refused("layer_norm_type", why="it is no LayerNorm", unless=(*OFF, "layer_norm")),
    **refused("use_rms_norm", why="it is no LayerNorm"),
    **refused("feed_forward_type", why="the feed-forward layer is another one", unless=(*OFF, "original")),
    **refused("sliding_window", "local_attention", "attention_window", why="tokens see a part of the row only"),
}

# Of every family, before its own.
COMMON: Mapping[str, Setting] = {**_USED, **_INERT, **_REFUSED}
# Of the families whose positions may be of several kinds, in transformers 4.
RELATIVE_POSITIONS = refused(
    "position_embedding_type", why="positions are added elsewhere, or not at all", unless=("absolute",)
)
