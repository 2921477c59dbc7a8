"""ALBERT-xxlarge: 12 layers of width 4096, 223.2M parameters with both heads, by the recipe of the paper.

Paper: Lan et al., 2019, arXiv:1909.11942, section 4.1. Everything not set here is as in albert_base.py. Dropout is that
    of the smaller models: the paper removes it late, where 1M steps did not overfit (Table 8), and the released version
    1, which the preset is, was trained for 1.5M steps and has none. To train without:
    `--config.model.hidden_dropout_prob=0 --config.model.attention_probs_dropout_prob=0`.
Command: python -m train.pretrain --config configs/albert_xxlarge.py --config.data.source='text:corpus/*.txt'
Hardware: the paper used 64 to 512 chips of TPU v3.
Expected: 0.3 times BERT-large's training throughput (the paper's Table 2). Not run by us.
"""

import ml_collections

from configs import albert_base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on the built-in corpus."""
    config = albert_base.get_config()
    config.model.preset = "albert-xxlarge-v1"
    config.model.hidden_dropout_prob = 0.1
    config.model.attention_probs_dropout_prob = 0.1
    config.execution.remat = "full"  # activations are not shared between layers, only parameters are
    return albert_base.smoke(config) if variant == "smoke" else config
