"""Named entities: CoNLL-2003, WNUT 2017, or files of their formats.

Paper: Devlin et al., 2018, arXiv:1810.04805, section 5.3, for reading a word's tag at its first piece; the recipe is
    BERT's (configs/_finetuning.py), at the 5e-5 that Hugging Face's token classification example takes.
Command: python -m train.finetune --config configs/ner.py --config.init_from=distilbert-base-cased \
    --config.data.source=files:conll2003; or tfds:conll2003/conll2003, where that was prepared
Hardware: one accelerator, or CPU cores and patience.
Expected: not run.
"""

import ml_collections
from ml_collections import config_dict

from configs import _finetuning

JOB = "finetune"
TASK_OPTIONS = "words"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on built-in sentences."""
    config = _finetuning.finetuning("ner")
    config.optimizer.learning_rate = 5e-5
    columns = config.data.columns = ml_collections.ConfigDict()
    columns.word, columns.tag = config_dict.placeholder(int), config_dict.placeholder(int)
    config.data.labels = ()
    return _finetuning.smoke(config) if variant == "smoke" else config
