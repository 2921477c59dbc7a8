"""A tiny DistilBERT, half as deep as its teacher, which bert_tiny.py trains; both on the built-in corpus.

Paper: Sanh et al., 2019, arXiv:1910.01108, for the losses and their weights; the sizes are ours.
Command: python -m train.pretrain --config configs/bert_tiny.py && python -m train.distill \
    --config configs/distilbert_tiny.py
Hardware: 2 CPU cores.
Expected: not run.
"""

import ml_collections

from configs import bert_tiny, distilbert_base

JOB = "distill"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, from a random teacher."""
    config = distilbert_base.distilled(bert_tiny.get_config())
    config.teacher = "runs/bert_tiny"
    config.total_steps = 600
    config.eval_every_steps = 200
    config.checkpoint_every_steps = 200
    config.model.preset = "distilbert-base-uncased"
    config.model.num_hidden_layers = 2
    return distilbert_base.smoke(config) if variant == "smoke" else config
