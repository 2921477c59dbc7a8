"""A tiny ALBERT on the built-in corpus: the whole path from nothing to a model directory, in minutes on two CPU cores.

Paper: Lan et al., 2019, arXiv:1909.11942, for the recipe; the sizes are ours.
Command: python -m train.pretrain --config configs/albert_tiny.py
Hardware: 2 CPU cores.
Expected: held out, masked-word loss 1.00 nats (unigram entropy 4.767) and sentence-order accuracy 90 to 97%
    (three seeds), in one to four minutes.
"""

import ml_collections

from configs import albert_base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds."""
    config = albert_base.get_config()
    config.batch_size = 64
    config.total_steps = 1500
    config.log_every_steps = 20
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 250
    config.keep_checkpoints = 2
    config.tokenizer = "train:unigram:1000"  # the corpus has some 300 words; a piece each, and the letters
    config.data.source = "builtin"
    config.data.max_eval_rows = 2048
    # Three sentences of seven tokens and the specials. The order of two segments is learned from their neighboring
    # sentences; in rows of 64 it was still at chance after 1500 steps.
    config.data.sequence_length = 24
    config.data.max_predictions = 4
    config.data.workers = 0
    config.model.embedding_size = 64
    config.model.hidden_size = 64
    config.model.num_hidden_layers = 4
    config.model.num_attention_heads = 4
    config.model.intermediate_size = 256
    config.model.hidden_dropout_prob = 0.0
    config.model.attention_probs_dropout_prob = 0.0
    # 1 / sqrt(64) is 0.125. From the published 0.02, made for widths of 768 and more, the loss stays at the unigram
    # entropy for several hundred steps.
    config.model.initializer_range = 0.1
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 100
    return albert_base.smoke(config) if variant == "smoke" else config
