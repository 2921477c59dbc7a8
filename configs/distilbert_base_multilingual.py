"""Multilingual DistilBERT from multilingual BERT: 104 languages, or a smaller vocabulary for those of the text.

Paper: Sanh et al., 2019, arXiv:1910.01108, for the recipe; huggingface/transformers, research_projects/distillation,
    for the model (Wikipedia in 104 languages). Trimming is ours: of 135M parameters 92M are word embeddings.
Command: python -m train.distill --config configs/distilbert_base_multilingual.py \
    --config.data.source='text:corpus/*.txt'
    (`configs/distilbert_base_multilingual.py:trimmed` keeps only the vocabulary entries that the text uses)
Hardware: not run at this size.
Result: not run. Model card: zero-shot XNLI 78.2 in English, 69.1 in Spanish, 66.3 in German.
"""

import ml_collections

from configs import _distillation, distilbert_base

JOB = "distill"
VARIANTS = ("", "trimmed")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = distilbert_base.get_config("cased")
    config.teacher = "bert-base-multilingual-cased"
    config.model.preset = "distilbert-base-multilingual-cased"
    if "trimmed" in variant:
        config.trim_vocabulary = True
    return _distillation.smoke(config) if "smoke" in variant else config
