"""The recipe of the tiny models on the built-in corpus."""

import ml_collections

from configs import _base


def tiny() -> ml_collections.ConfigDict:
    """Returns a recipe for minutes on two CPU cores; its sizes and rates are ours."""
    config = _base.experiment()
    config.batch_size = 64
    config.log_every_steps = 20
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 250
    config.keep_checkpoints = 2
    config.data.source = "builtin"
    config.data.max_eval_rows = 2048
    # Three sentences of seven tokens and the special tokens. Sentence order is learned from the sentences where two
    # segments meet; with 64 tokens it was still at chance after 1500 steps.
    config.data.sequence_length = 24
    config.data.max_predictions = 4
    config.data.workers = 0
    config.model.hidden_size = 64
    config.model.num_hidden_layers = 4
    config.model.num_attention_heads = 4
    config.model.intermediate_size = 256
    config.model.hidden_dropout_prob = 0.0
    config.model.attention_probs_dropout_prob = 0.0
    # About 1 / sqrt(64). With the published 0.02, made for widths of 768 and more, the loss stays at the unigram
    # entropy for several hundred steps.
    config.model.initializer_range = 0.1
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 100
    return config
