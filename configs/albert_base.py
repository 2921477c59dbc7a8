"""ALBERT-base: masked LM and sentence order.

Paper: Lan et al., 2019, arXiv:1909.11942, section 4.1 and appendix; code: google-research/albert,
    create_pretraining_data.py and run_pretraining.py.
Command: python -m train.pretrain --config configs/albert_base.py --config.data.source='text:corpus/*.txt'
Hardware: 64 to 512 TPU v3 chips (paper).
Result: not run. Paper, Table 5: masked-LM accuracy 54.0%, sentence-order accuracy 86.5% after 125k steps on Wikipedia
    and BookCorpus.
"""

import ml_collections

from configs import _base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _base.experiment()
    config.batch_size = 4096
    config.total_steps = 125_000
    config.tokenizer = "train:unigram:30000"  # or the path of a spiece.model or vocab.txt
    config.data.max_ngram = 3
    config.data.whole_word = True
    # The paper's runs are version 1, with dropout 0.1. Google's code computes tanh GELU, which config.json of version 1
    # calls "gelu".
    config.model.preset = "albert-base-v1"
    config.model.hidden_act = "gelu_new"
    config.optimizer.name = "lamb"
    config.optimizer.learning_rate = 0.00176
    config.optimizer.warmup_steps = 3125
    return _base.smoke(config) if variant == "smoke" else config
