"""ALBERT-xxlarge: 12 layers of width 4096, 223.2M parameters with both heads.

Paper: Lan et al., 2019, arXiv:1909.11942, section 4.1. Dropout is that of the smaller models: the paper removes it
    late, where 1M steps did not overfit (Table 8); the released version 1, the preset, was trained for 1.5M steps and
    has none. To train without it:
    `--config.model.hidden_dropout_prob=0 --config.model.attention_probs_dropout_prob=0`.
Command: python -m train.pretrain --config configs/albert_xxlarge.py --config.data.source='text:corpus/*.txt'
Hardware: 64 to 512 TPU v3 chips (paper).
Result: not run. Paper, Table 2: 0.3 times BERT-large's training throughput.
"""

import ml_collections

from configs import _base, albert_base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = albert_base.get_config()
    config.model.preset = "albert-xxlarge-v1"
    config.model.hidden_dropout_prob = 0.1
    config.model.attention_probs_dropout_prob = 0.1
    config.execution.remat = "full"  # layers share parameters, not activations
    return _base.smoke(config) if variant == "smoke" else config
