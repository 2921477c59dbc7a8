"""One's own texts: a table with a text (or two) and a label in each row.

Paper: none; the recipe is BERT's (configs/_finetuning.py).
Command: python -m train.finetune --config configs/classify.py --config.init_from=distilbert-base-uncased \
    --config.data.source=files:mine.csv --config.data.columns.text=review --config.data.columns.label=stars
Hardware: one accelerator, or CPU cores for some thousands of texts.
Expected: depends on the texts; every run compares itself with the commonest label.
"""

import ml_collections
from ml_collections import config_dict

from configs import _finetuning

JOB = "finetune"
TASK_OPTIONS = "columns"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on built-in sentences."""
    config = _finetuning.finetuning("classify")
    config.class_weights = "equal"
    columns = config.data.columns = ml_collections.ConfigDict()
    columns.text = "text"
    columns.text_pair = config_dict.placeholder(str)
    columns.label = "label"
    columns.id = config_dict.placeholder(str)
    columns.header = ()
    config.data.separator = "auto"
    config.data.labels = ()
    config.data.problem = "single_label"
    config.data.label_separator = ","
    config.data.eval_fraction = 0.1
    return _finetuning.smoke(config) if variant == "smoke" else config
