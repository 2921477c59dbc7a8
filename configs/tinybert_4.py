"""TinyBERT's general distillation: four narrow layers that imitate hidden states and attention scores of BERT-base.

Paper: Jiao et al., 2019, arXiv:1909.10351, sections 3.1 and 4.2: squared errors of embeddings, hidden states and
    attention scores, each of weight 1, no masked-LM loss; 128 tokens, every third layer. Batch size, rate, warm-up,
    schedule and optimizer (AdamW without bias correction) are those of its code (huawei-noah/Pretrained-Language-Model,
    TinyBERT: README, general_distill.py, transformer/optimization.py), and so is text without masks; the number of
    steps is ours (the paper has 3 epochs of Wikipedia).
    Differences from its code: errors are means over real tokens; there, padding counts. Hidden states and embeddings
    have one linear map each, without a bias, as in the paper's equations 8 and 9; the code has one Dense for both. The
    global gradient norm is clipped; there, each parameter's. Sequences are single texts; the code pairs segments as
    BERT does, so here the embedding of the second token type is not trained before a task with pairs.
Command: python -m train.distill --config configs/tinybert_4.py --config.data.source='text:corpus/*.txt'
Hardware: not run at this size.
Result: not run. Paper, Table 1: GLUE test set 77.0 after task distillation, against BERT-base's 79.5.
"""

import ml_collections

from configs import _base, _distillation

JOB = "distill"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _base.experiment()
    config.seed = _distillation.SEED
    config.batch_size = 256
    config.total_steps = 125_000
    config.teacher = "bert-base-uncased"
    config.data.sequence_length = 128
    config.data.masked_fraction = 0.0
    config.data.max_predictions = 1
    config.student.init = "random"  # no width is the teacher's
    config.losses = ml_collections.ConfigDict({"embedding_mse": 1.0, "hidden_mse": 1.0, "attention_mse": 1.0})
    config.distill.project = True
    config.model.preset = "bert-base-uncased"
    config.model.hidden_act = "gelu"
    config.model.num_hidden_layers = 4
    config.model.hidden_size = 312
    config.model.num_attention_heads = 12
    config.model.intermediate_size = 1200
    config.optimizer.learning_rate = 5e-5
    config.optimizer.decay_from = "peak"
    config.optimizer.warmup_steps = 12_500  # a tenth
    config.optimizer.bias_correction = False
    if variant == "smoke":
        _distillation.smoke(config)
        config.model.hidden_size = 24
    return config
