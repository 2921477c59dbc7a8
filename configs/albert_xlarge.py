"""ALBERT-xlarge: 24 layers of width 2048, 59.0M parameters with both heads.

Paper: Lan et al., 2019, arXiv:1909.11942, section 4.1.
Command: python -m train.pretrain --config configs/albert_xlarge.py --config.data.source='text:corpus/*.txt'
Hardware: 64 to 512 TPU v3 chips (paper).
Result: not run. Paper, Table 2: 0.6 times BERT-large's training throughput.
"""

import ml_collections

from configs import _base, albert_base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = albert_base.get_config()
    config.model.preset = "albert-xlarge-v1"
    config.execution.remat = "full"  # layers share parameters, not activations
    return _base.smoke(config) if variant == "smoke" else config
