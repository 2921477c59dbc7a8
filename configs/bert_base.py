"""BERT-base: masked LM and next sentence.

Paper: Devlin et al., 2018, arXiv:1810.04805, appendix A.2; code: google-research/bert, whose AdamW omits the bias
    correction (optimization.py). The paper trains 90% of its steps on 128 tokens; this is the recipe for 512.
Command: python -m train.pretrain --config configs/bert_base.py --config.data.source='text:corpus/*.txt'
Hardware: 16 Cloud TPU chips, 4 days (paper).
Result: not run.
"""

import ml_collections

from configs import _base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _base.experiment()
    config.batch_size = 256
    config.total_steps = 1_000_000
    config.tokenizer = "train:wordpiece:30522"
    config.data.pair_task = "nsp"
    config.model.preset = "bert-base-uncased"
    config.model.hidden_act = "gelu"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.warmup_steps = 10_000
    config.optimizer.bias_correction = False
    return _base.smoke(config) if variant == "smoke" else config
