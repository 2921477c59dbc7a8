"""DistilBERT's recipe, which several configs share, and the smoke variant of distillation."""

import ml_collections

from configs import _base

# Weights of the losses, from the README of huggingface/transformers, research_projects/distillation.
LOSSES = {"soft_cross_entropy": 5.0, "mlm": 2.0, "cosine": 1.0}
SEED = 56  # that code's


def distilbert() -> ml_collections.ConfigDict:
    """Returns DistilBERT's data, masks and optimizer, with or without a teacher.

    Source: Sanh et al. 2019 (arXiv:1910.01108), section 3: single texts, masks drawn anew for every batch, no next
        sentence. Rate and schedule, betas, weight decay, warm-up, clipping and mask smoothing are those of its code
        (huggingface/transformers, research_projects/distillation); the number of steps is ours.
    """
    config = _base.experiment()
    config.seed = SEED
    config.batch_size = 4000  # "up to 4K examples per batch"
    config.total_steps = 125_000
    config.data.masking = "batch"
    config.data.mask_smoothing = 0.7
    # 77 is the mean of a sequence; one of rare words gets more. 0.03% of the masked tokens of novels find no room.
    config.data.max_predictions = 128
    config.model.hidden_act = "gelu"
    config.optimizer.learning_rate = 5e-4
    config.optimizer.decay_from = "peak"
    config.optimizer.warmup_steps = 6250  # 5%
    config.optimizer.weight_decay = 0.0
    config.optimizer.b2 = 0.98
    config.optimizer.clip_norm = 5.0
    return config


def smoke(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Shrinks a distillation to seconds on a laptop; the teacher is a random one of four layers."""
    config.tokenizer = "train:wordpiece:600"
    config.teacher = "random"
    _base.smoke(config)
    config.data.max_predictions = 16
    return config
