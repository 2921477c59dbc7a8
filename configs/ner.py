"""Named entities: CoNLL-2003, WNUT 2017, or files in their formats.

Paper: Devlin et al., 2018, arXiv:1810.04805, section 5.3, for predicting a word's tag at its first piece; the recipe is
    BERT's (configs/_finetuning.py), at the 5e-5 of Hugging Face's token classification example.
Command: python -m train.finetune --config configs/ner.py --config.init_from=distilbert-base-cased \
    --config.data.source=files:conll2003; or tfds:conll2003/conll2003, once that is prepared
Hardware: one accelerator, or CPU cores and patience.
Result: not run.
"""

import ml_collections

from configs import _finetuning

JOB = "finetune"
TASK_OPTIONS = "words"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _finetuning.finetuning("ner")
    config.optimizer.learning_rate = 5e-5
    return _finetuning.smoke(config) if variant == "smoke" else config
