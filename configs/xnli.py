"""Entailment in fifteen languages, trained on machine-translated MultiNLI in one of them.

Paper: Conneau et al., 2018, arXiv:1809.05053; the recipe is BERT's (configs/_finetuning.py).
Command: python -m train.finetune --config configs/xnli.py --config.init_from=distilbert-base-multilingual-cased \
    --config.data.source=files:xnli --config.data.language=de
Hardware: one accelerator.
Result: not run. DistilmBERT's model card, trained on English alone: English 78.2, Spanish 69.1, Chinese 64.0, German
    66.3, Arabic 59.1, Urdu 54.7.
"""

import ml_collections

from configs import _finetuning

JOB = "finetune"
TASK_OPTIONS = "languages"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _finetuning.finetuning("xnli")
    return _finetuning.smoke(config) if variant == "smoke" else config
