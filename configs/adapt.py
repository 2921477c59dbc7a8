"""Domain adaptation: continues masked-LM training from any checkpoint, on your own text.

Paper: Gururangan et al., 2020, arXiv:2004.10964, for the method; batch size, steps, rate and warm-up are our starting
    points, neither measured nor from its tables.
Command: python -m train.pretrain --config configs/adapt.py --config.init_from=distilbert-base-uncased \
    --config.data.source='text:corpus/*.txt'
Hardware: one accelerator; raise accumulation_steps if a batch does not fit.
Result: not run. The paper finds gains in classification on four domains and eight tasks.
"""

import ml_collections

from configs import _base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; tokenizer and architecture are the checkpoint's."""
    config = _base.experiment()
    config.batch_size = 256
    config.total_steps = 2_000
    config.eval_every_steps = 200
    config.checkpoint_every_steps = 200
    config.data.rows = "packed"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.warmup_steps = 120
    if variant == "smoke":
        config.tokenizer = "train:wordpiece:600"
        config.model.preset = "distilbert-base-uncased"
        _base.smoke(config)
    return config
