"""DistilBERT-base from BERT-base: six of its layers, taught by its predictions and hidden states.

Paper: Sanh et al., 2019, arXiv:1910.01108, section 3; code: huggingface/transformers, research_projects/distillation,
    whose README has the weights 5, 2 and 1 (the paper gives none, and no temperature, which is 2 there). Batches are
    the paper's "up to 4K examples"; the README's own commands make 250 (one GPU) or 1000 (four), 5 sequences at a time,
    accumulated 50 times on each. The number of steps is ours.
Command: python -m train.distill --config configs/distilbert_base.py --config.data.source='text:corpus/*.txt'
    (`configs/distilbert_base.py:cased` for the cased pair)
Hardware: 8 V100, 90 hours for Wikipedia and BookCorpus (paper).
Result: not run. Paper, Table 1: GLUE 77.0, 97% of BERT's 79.5.
"""

import ml_collections

from configs import _distillation

JOB = "distill"
VARIANTS = ("", "cased")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _distillation.distilbert()
    case = "cased" if "cased" in variant.split(",") else "uncased"
    config.teacher = f"bert-base-{case}"
    config.losses = ml_collections.ConfigDict(_distillation.LOSSES)
    config.model.preset = f"distilbert-base-{case}"
    return _distillation.smoke(config) if "smoke" in variant else config
