"""Labeled tasks on the built-in corpus: how well a pretrained model learns them from few examples.

Paper: none; the tasks and their sizes are ours.
Command: python -m train.finetune --config configs/builtin.py:entailment --config.init_from=runs/albert_tiny
Hardware: 2 CPU cores, up to 3 minutes a seed.
Result: from configs/albert_tiny.py, three seeds, the score of guessing in parentheses: entailment 0.857 (0.500),
    sentiment 0.979 (0.500), similarity 0.837 (0), tags 0.999 (0), choices 0.997 (0.250), spans 0.972 (0), spans_v2
    1.000 (0.338).
"""

import ml_collections

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
    """Returns the experiment of one task."""
    task, *options = variant.split(",")
    config = _finetuning.finetuning(task)
    config.data.sequence_length = 64
    config.optimizer.learning_rate = 5e-4
    if TASK_OPTIONS[task] == "spans":
        config.data.max_question_length = 32
        config.data.doc_stride = 32
        config.answers.max_length = 4
    return _finetuning.smoke(config) if "smoke" in options else config
