"""A sentence encoder trained on pairs: cosine similarities against human scores, or in-batch contrastive.

Paper: Reimers and Gurevych, 2019, arXiv:1908.10084, sections 3.1 and 4.2 (STS benchmark: four epochs, batches of 16,
    2e-5, a tenth of warm-up).
Command: python -m train.finetune --config configs/sentence.py --config.init_from=distilbert-base-uncased \
    --config.data.source=files:STS-B
Hardware: one accelerator, or CPU cores for some thousands of pairs.
Result: not run.
"""

import ml_collections

from configs import _finetuning

JOB = "finetune"
TASK_OPTIONS = "sentences"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _finetuning.finetuning("sentences")
    config.batch_size = 16
    config.epochs = 4.0
    config.data.columns.text = "sentence1"
    config.data.columns.text_pair = "sentence2"
    config.data.columns.label = "score"
    return _finetuning.smoke(config) if variant == "smoke" else config
