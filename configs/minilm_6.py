"""MiniLM: six layers of half BERT-base's width that imitate its last layer's attention and value relations.

Paper: Wang et al., 2020, arXiv:2002.10957 (`:v1`: attention and relations of values, twelve heads); Wang et al., 2020,
    arXiv:2012.15828 (`:v2`: relations of queries, keys and values, 48 heads). Rate 5e-4, batch 1024, 400,000 steps,
    4,000 of warm-up, weight decay 0.01 and 512 tokens are what the first gives for its student of width 768. Neither
    mentions clipping, which is BERT's, at 1. Sequences are single texts, without BERT's second segment.
Command: python -m train.distill --config configs/minilm_6.py:v2 --config.data.source='text:corpus/*.txt'
Hardware: not run at this size.
Result: not run. microsoft/unilm, minilm, L6-H384 of version 1, which also had a teacher assistant: after fine-tuning
    MNLI-m 83.3, SST-2 91.5, SQuAD 2 F1 75.6.
"""

import ml_collections

from configs import _base, _distillation

JOB = "distill"
VARIANTS = ("v1", "v2")


def get_config(variant: str = "v2") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    version = variant.split(",")[0]
    config = _base.experiment()
    config.seed = _distillation.SEED
    config.batch_size = 1024
    config.total_steps = 400_000
    config.teacher = "bert-base-uncased"
    config.data.masked_fraction = 0.0
    config.data.max_predictions = 1
    config.student.init = "random"  # no width is the teacher's
    for name in {"v1": ("attention", "value"), "v2": ("query", "key", "value")}[version]:
        config.losses[f"{name}_relation"] = 1.0
    config.distill.relation_heads = {"v1": 12, "v2": 48}[version]
    config.model.preset = "bert-base-uncased"
    config.model.hidden_act = "gelu"
    config.model.num_hidden_layers = 6
    config.model.hidden_size = 384
    config.model.num_attention_heads = 12
    config.model.intermediate_size = 1536
    config.optimizer.learning_rate = 5e-4
    config.optimizer.decay_from = "peak"
    config.optimizer.warmup_steps = 4_000
    if "smoke" in variant:
        _distillation.smoke(config)
        config.model.hidden_size = 24
        config.distill.relation_heads = {"v1": 2, "v2": 4}[version]
    return config
