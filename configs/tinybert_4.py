"""TinyBERT's general distillation: four narrow layers that imitate the hidden states and attention of BERT-base.

Paper: Jiao et al., 2019, arXiv:1909.10351, section 3.1 and 4.2: squared errors of embeddings, hidden states and
    attention scores, each of weight 1, no loss on words; rows of 128, every third layer. Batch size, rate, warm-up,
    schedule and optimizer (AdamW without bias correction) are those of its code (huawei-noah/Pretrained-Language-Model,
    TinyBERT: README, general_distill.py, transformer/optimization.py), and so is text without masks; the number of
    steps is ours (the paper has 3 epochs of Wikipedia).
    Differences to its code: the errors are means over real tokens, where padding counts there. Hidden states and
    embeddings have a map each, without a bias, as in the paper's equations 8 and 9, where the code has one Dense for
    both. The gradient is clipped as a whole, each parameter's alone there. Rows are single texts, where the code pairs
    segments as BERT does: the embedding of the second token type is not learned before there is a task with pairs.
Command: python -m train.distill --config configs/tinybert_4.py --config.data.source='text:corpus/*.txt'
Hardware: not run at this size.
Expected: after task distillation 77.0 on the GLUE test set, against BERT-base's 79.5 (the paper's Table 1). Not run by
    us.
"""

import ml_collections

from configs import distilbert_base

JOB = "distill"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on the built-in corpus, from a random teacher."""
    config = distilbert_base.get_config()
    config.batch_size = 256
    config.data.sequence_length = 128
    config.data.masking = "rows"
    config.data.mask_smoothing = 0.0
    config.data.masked_fraction = 0.0
    config.data.max_predictions = 1
    config.student.init = "random"  # no width is the teacher's
    for name in distilbert_base.LOSSES:
        config.losses[name] = 0.0
    for name in ("embedding_mse", "hidden_mse", "attention_mse"):
        config.losses[name] = 1.0
    config.distill.project = True
    config.model.preset = "bert-base-uncased"
    config.model.num_hidden_layers = 4
    config.model.hidden_size = 312
    config.model.num_attention_heads = 12
    config.model.intermediate_size = 1200
    config.optimizer.learning_rate = 5e-5
    config.optimizer.warmup_steps = 12_500  # a tenth
    config.optimizer.weight_decay = 0.01
    config.optimizer.b2 = 0.999
    config.optimizer.bias_correction = False
    config.optimizer.clip_norm = 1.0
    if variant == "smoke":
        config = distilbert_base.smoke(config)
        config.model.hidden_size = 24
    return config
