"""BERT-base: masked word pieces and next sentence, by the recipe of the paper.

Paper: Devlin et al., 2018, arXiv:1810.04805, appendix A.2; code: google-research/bert, whose AdamW leaves the bias
    correction out (optimization.py).
Command: python -m train.pretrain --config configs/bert_base.py --config.data.source='text:corpus/*.txt'
Hardware: the paper used 16 chips of Cloud TPU for 4 days.
Expected: not run by us. The paper trains 90% of its steps on rows of 128 tokens; this is the recipe for rows of 512.
"""

import ml_collections

from configs import albert_base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on the built-in corpus."""
    config = albert_base.get_config()
    config.batch_size = 256
    config.total_steps = 1_000_000
    config.tokenizer = "train:wordpiece:30522"
    config.data.pair_task = "nsp"
    config.data.max_ngram = 1
    config.data.whole_word = False
    config.model.preset = "bert-base-uncased"
    config.model.hidden_act = "gelu"
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.warmup_steps = 10_000
    config.optimizer.bias_correction = False
    return albert_base.smoke(config) if variant == "smoke" else config
