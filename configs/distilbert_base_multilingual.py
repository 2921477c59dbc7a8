"""Multilingual DistilBERT from multilingual BERT, in 104 languages, or in those of the text with fewer word pieces.

Paper: Sanh et al., 2019, arXiv:1910.01108, for the recipe; huggingface/transformers, research_projects/distillation,
    for the model (Wikipedia in 104 languages). Trimming is ours: of 135M parameters 92M are word embeddings.
Command: python -m train.distill --config configs/distilbert_base_multilingual.py \
    --config.data.source='text:corpus/*.txt'
    (`configs/distilbert_base_multilingual.py:trimmed` keeps only the pieces that the text uses)
Hardware: not run at this size.
Expected: XNLI zero-shot 78.2 in English, 69.1 in Spanish, 66.3 in German (its model card). Not run by us.
"""

import ml_collections

from configs import distilbert_base

JOB = "distill"
VARIANTS = ("", "trimmed")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on the built-in corpus, from a random teacher."""
    config = distilbert_base.get_config("cased")
    config.teacher = "bert-base-multilingual-cased"
    config.model.preset = "distilbert-base-multilingual-cased"
    config.trim_vocabulary = "trimmed" in variant
    return distilbert_base.smoke(config) if "smoke" in variant else config
