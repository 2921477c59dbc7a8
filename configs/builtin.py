"""Labelled tasks on the built-in corpus: does a pretrained model learn them from few examples?

Paper: none; the tasks and their sizes are ours.
Command: python -m train.finetune --config configs/builtin.py:entailment --config.init_from=runs/albert_tiny
Hardware: 2 CPU cores.
Expected: entailment from configs/albert_tiny.py: accuracy 0.857 (0.814 to 0.942 over three seeds), guessing 0.500; half
    a minute a seed. The others: not run.
"""

import ml_collections
from ml_collections import config_dict

from configs import _finetuning

JOB = "finetune"
LEAVES = {
    "sentiment": "texts",
    "entailment": "texts",
    "similarity": "texts",
    "tags": "tags",
    "choices": "choices",
    "spans": "spans",
    "spans_v2": "spans",
}
VARIANTS = tuple(LEAVES)


def get_config(variant: str = "entailment") -> ml_collections.ConfigDict:
    """The experiment of one task; `smoke` is the same code path in seconds."""
    task, *options = variant.split(",")
    config = _finetuning.finetuning(task)
    config.data.sequence_length = 64
    config.optimizer.learning_rate = 5e-4
    if LEAVES[task] == "texts":
        config.class_weights = "equal"
    if LEAVES[task] == "spans":
        config.data.max_question_length = 32
        config.data.doc_stride = 32
        config.data.eval_articles = config_dict.placeholder(int)
        config.answers = ml_collections.ConfigDict({"head": "simple", "n_best": 20, "max_length": 4})
    return _finetuning.smoke(config) if "smoke" in options else config
