"""DistilBERT on masked words alone, without a teacher: what distillation has to beat.

Paper: Sanh et al., 2019, arXiv:1910.01108, section 3: single texts, masks drawn anew for every batch, no next sentence.
    Rate and its schedule, betas, weight decay, warm-up, clipping and smoothing of the masks are those of its code
    (huggingface/transformers, research_projects/distillation); the paper has no run without a teacher, and the number
    of steps is ours.
Command: python -m train.pretrain --config configs/distilbert_mlm.py --config.data.source='text:corpus/*.txt'
Hardware: not run at this size; the paper distilled for 90 hours on 8 V100.
Expected: not run by us.
"""

import ml_collections

from configs import albert_base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on the built-in corpus."""
    config = albert_base.get_config()
    config.seed = 56  # the reference's
    config.batch_size = 4000  # "up to 4K examples per batch"
    config.tokenizer = "train:wordpiece:30522"
    config.data.rows = "packed"
    config.data.masking = "batch"
    config.data.mask_smoothing = 0.7
    # 77 is the mean of a row; rows of rare words get more. 0.03% of the masked tokens of novels find no room.
    config.data.max_predictions = 128
    config.data.max_ngram = 1
    config.data.whole_word = False
    config.model.preset = "distilbert-base-uncased"
    config.model.hidden_act = "gelu"
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-4
    config.optimizer.decay_from = "peak"
    config.optimizer.warmup_steps = 6250  # 5%
    config.optimizer.weight_decay = 0.0
    config.optimizer.b2 = 0.98
    config.optimizer.clip_norm = 5.0
    return albert_base.smoke(config) if variant == "smoke" else config
