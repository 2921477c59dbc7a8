"""A tiny ALBERT-shaped student of bert_tiny.py's BERT: one shared layer, embeddings of half the width.

Paper: as distilalbert.py; the sizes are ours.
Command: python -m train.distill --config configs/distilalbert_tiny.py
Hardware: 2 CPU cores.
Result: held-out masked-LM loss 0.718 nats against the teacher's 0.631 (one seed). With the decay from step 0
    (optimizer.decay_from=start), three seeds and an earlier teacher of 0.633: 0.734 (0.733 to 0.735); the same shape
    without a teacher 0.929 (0.903 to 0.965) with as much compute, 1.976 with as many steps.
"""

import ml_collections

from configs import _distillation, distilbert_tiny

JOB = "distill"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = distilbert_tiny.get_config()
    config.model.preset = "albert-base-v2"
    config.model.embedding_size = 32
    return _distillation.smoke(config) if variant == "smoke" else config
