"""ALBERT and DistilBERT in one: a student with one shared layer and factorized embeddings, taught by BERT-base.

Paper: Lan et al., 2019, arXiv:1909.11942, for the shape; Sanh et al., 2019, arXiv:1910.01108, for the losses, their
    weights and the recipe. The combination is ours.
Command: python -m train.distill --config configs/distilalbert.py --config.data.source='text:corpus/*.txt'
Hardware: not run at this size.
Result: not run. configs/distilalbert_tiny.py is the same on the built-in corpus.
"""

import ml_collections

from configs import _distillation, distilbert_base

JOB = "distill"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = distilbert_base.get_config()
    config.model.preset = "albert-base-v2"
    config.model.num_hidden_layers = 6
    config.model.hidden_dropout_prob = 0.1  # version 2 has none; DistilBERT's students have 0.1
    config.model.attention_probs_dropout_prob = 0.1
    return _distillation.smoke(config) if variant == "smoke" else config
