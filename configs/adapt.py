"""Domain adaptation: goes on with masked words from any checkpoint, on one's own text.

Paper: Gururangan et al., 2020, arXiv:2004.10964, for the method; batch size, steps, rate and warm-up are starting
    points of ours, not measured and not taken from its tables.
Command: python -m train.pretrain --config configs/adapt.py --config.init_from=distilbert-base-uncased \
    --config.data.source='text:corpus/*.txt'
Hardware: not run at this size; accumulation_steps divides a batch that does not fit.
Expected: not run by us. The paper finds gains in classification on four domains and eight tasks.
"""

import ml_collections
from ml_collections import config_dict

from configs import albert_base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on the built-in corpus, from random parameters."""
    config = albert_base.get_config()
    config.batch_size = 256
    config.total_steps = 2_000
    config.eval_every_steps = 200
    config.checkpoint_every_steps = 200
    config.tokenizer = config_dict.placeholder(str)  # the checkpoint's own
    config.data.rows = "packed"
    config.data.max_ngram = 1
    config.data.whole_word = False
    config.model.preset = config_dict.placeholder(str)  # the checkpoint's own
    config.model.hidden_act = config_dict.placeholder(str)
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.warmup_steps = 120
    if variant == "smoke":
        config.tokenizer = "train:wordpiece:600"
        config.model.preset = "distilbert-base-uncased"
        return albert_base.smoke(config)
    return config
