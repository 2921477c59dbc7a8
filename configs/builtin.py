"""Labeled tasks on the built-in corpus: does a pretrained model learn them from few examples?

Paper: none; the tasks and their sizes are ours.
Command: python -m train.finetune --config configs/builtin.py:entailment --config.init_from=runs/albert_tiny
Hardware: 2 CPU cores.
Expected: from configs/albert_tiny.py, three seeds: entailment 0.857 (guessing 0.500), sentiment 0.979 (0.500),
    similarity 0.837 (0), tags 0.999 (0), choices 0.997 (0.250), spans 0.972 (0), spans_v2 1.000
    (0.338); up to 3 minutes a seed.
"""

import ml_collections
from ml_collections import config_dict

from configs import _finetuning

JOB = "finetune"
TASK_OPTIONS = {
    "sentiment": "texts",
    "entailment": "texts",
    "similarity": "texts",
    "tags": "tags",
    "choices": "choices",
    "spans": "spans",
    "spans_v2": "spans",
}
VARIANTS = tuple(TASK_OPTIONS)


def get_config(variant: str = "entailment") -> ml_collections.ConfigDict:
    """The experiment of one task; `smoke` is the same code path in seconds."""
    task, *options = variant.split(",")
    config = _finetuning.finetuning(task)
    config.data.sequence_length = 64
    config.optimizer.learning_rate = 5e-4
    if TASK_OPTIONS[task] == "texts":
        config.class_weights = "equal"
    if TASK_OPTIONS[task] == "spans":
        config.data.max_question_length = 32
        config.data.doc_stride = 32
        config.data.eval_articles = config_dict.placeholder(int)
        config.answers = ml_collections.ConfigDict({"head": "simple", "n_best": 20, "max_length": 4})
    return _finetuning.smoke(config) if "smoke" in options else config
