"""The nine tasks of GLUE, and the diagnostic set AX.

Paper: Wang et al., 2018, arXiv:1804.07461. The recipe is BERT's (configs/_finetuning.py), commonly used for DistilBERT
    too, whose paper gives none; `configs/glue.py:sst2,albert` is ALBERT's (Lan et al., 2019, arXiv:1909.11942,
    Table 14), made for ALBERT-xxlarge.
Command: python -m train.finetune --config configs/glue.py:sst2 --config.init_from=distilbert-base-uncased \
    --config.data.source=files:glue_data
Hardware: one accelerator; CPU cores for the small tasks.
Result: not run from these checkpoints. DistilBERT's paper, Table 1, development sets: CoLA 51.3, MNLI 82.2, MRPC 87.5,
    QNLI 89.2, QQP 88.5, RTE 59.9, SST-2 91.3, STS-B 86.9, WNLI 56.3.
"""

import ml_collections

from configs import _finetuning
from configs._finetuning import Published

JOB = "finetune"
TASK_OPTIONS = "texts"
VARIANTS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax")
RECIPES = ("albert",)

_ALBERT = {
    "cola": Published(1e-5, 16, 0.0, 5336, 320),
    "stsb": Published(2e-5, 16, 0.0, 3598, 214),
    "sst2": Published(1e-5, 32, 0.0, 20935, 1256),
    "mnli": Published(3e-5, 128, 0.0, 10000, 1000),
    "ax": Published(3e-5, 128, 0.0, 10000, 1000),
    "qnli": Published(1e-5, 32, 0.0, 33112, 1986),
    "qqp": Published(5e-5, 128, 0.1, 14000, 1000),
    "rte": Published(3e-5, 32, 0.1, 800, 200),
    "mrpc": Published(2e-5, 32, 0.0, 800, 200),
    "wnli": Published(2e-5, 16, 0.1, 2000, 250),
}


def get_config(variant: str = "sst2") -> ml_collections.ConfigDict:
    """Returns the experiment of one task."""
    task, *options = variant.split(",")
    config = _finetuning.finetuning(task)
    if "albert" in options:
        _finetuning.as_published(config, _ALBERT[task])
        config.model.classifier_dropout_prob = 0.1
    return _finetuning.smoke(config) if "smoke" in options else config
