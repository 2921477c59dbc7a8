"""Your own texts: a table with a text (or two) and a label in each row.

Paper: none; the recipe is BERT's (configs/_finetuning.py).
Command: python -m train.finetune --config configs/classify.py --config.init_from=distilbert-base-uncased \
    --config.data.source=files:mine.csv --config.data.columns.text=review --config.data.columns.label=stars
Hardware: one accelerator, or CPU cores for some thousands of texts.
Result: not run; it depends on the texts. Every run compares itself with the most frequent label.
"""

import ml_collections

from configs import _finetuning

JOB = "finetune"
TASK_OPTIONS = "columns"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _finetuning.finetuning("classify")
    return _finetuning.smoke(config) if variant == "smoke" else config
