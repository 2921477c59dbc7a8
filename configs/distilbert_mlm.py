"""DistilBERT on masked LM alone, without a teacher: the baseline of distillation.

Paper: Sanh et al., 2019, arXiv:1910.01108, section 3, and its code (configs/_distillation.py). The paper has no run
    without a teacher.
Command: python -m train.pretrain --config configs/distilbert_mlm.py --config.data.source='text:corpus/*.txt'
Hardware: 8 V100 for the paper's distillation, 90 hours.
Result: not run.
"""

import ml_collections

from configs import _base, _distillation


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _distillation.distilbert()
    config.tokenizer = "train:wordpiece:30522"
    config.data.rows = "packed"
    config.model.preset = "distilbert-base-uncased"
    return _base.smoke(config) if variant == "smoke" else config
