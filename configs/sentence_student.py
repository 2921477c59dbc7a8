"""A six-layer sentence encoder's student of three: taught its sentence vectors and hidden states on plain text.

Paper: Reimers and Gurevych, 2020, arXiv:2004.09813, for the squared error of sentence vectors; that of the hidden
    states is TinyBERT's (arXiv:1909.10351); the weights are ours.
Command: python -m train.distill --config configs/sentence_student.py \
    --config.teacher=sentence-transformers/all-MiniLM-L6-v2 --config.data.source='text:corpus/*.txt'
Hardware: 2 CPU cores.
Expected: 99% of the teacher's score on STS-B's development set, 0.8597 to 0.8606 over three seeds, in 20 minutes on two
    idle cores (`python -m benchmarks.sentence_student`).
"""

import ml_collections
from ml_collections import config_dict

from configs import distilbert_base, distilbert_mlm

JOB = "distill"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on the built-in corpus, from a random teacher."""
    config = distilbert_base.distilled(distilbert_mlm.get_config())
    config.batch_size = 16
    config.total_steps = 2500
    config.log_every_steps = 20
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 500
    config.data.texts = "sentences"
    config.data.sequence_length = 64
    config.data.masking = "rows"
    config.data.mask_smoothing = 0.0
    config.data.masked_fraction = 0.0  # the teacher knows whole sentences
    config.data.max_predictions = 1
    config.data.max_eval_rows = 512
    config.data.workers = 0
    config.losses = ml_collections.ConfigDict(dict.fromkeys(distilbert_base.LOSSES, 0.0))
    config.losses.sentence_mse = 100.0
    config.losses.hidden_mse = 1.0
    config.student.layers = (0, 3, 5)
    config.distill.layer_map = ((0, 0), (3, 1), (5, 2))
    config.model.preset = config_dict.placeholder(str)  # the teacher's
    config.model.hidden_act = config_dict.placeholder(str)
    config.model.num_hidden_layers = 3
    config.model.hidden_dropout_prob = 0.0  # 0.846 instead of 0.854 after 340,000 tokens with the teacher's 0.1
    config.model.attention_probs_dropout_prob = 0.0
    config.optimizer.decay_from = None  # as it was measured
    config.optimizer.warmup_steps = 125
    if variant == "smoke":
        config.student.layers, config.distill.layer_map = (), ()  # the random teacher has four layers
        return distilbert_base.smoke(config)
    return config
