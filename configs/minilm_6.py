"""MiniLM: six layers of half BERT-base's width that imitate who attends to whom in its last layer, and what values say.

Paper: Wang et al., 2020, arXiv:2002.10957 (`:v1`: attention and relations of values, twelve heads); Wang et al., 2020,
    arXiv:2012.15828 (`:v2`: relations of queries, keys and values, 48 heads). Rate 5e-4, batch 1024, 400,000 steps,
    4,000 of warm-up, weight decay 0.01, rows of 512 are what the first gives for its student of 768. Neither says
    anything of clipping: it is BERT's, at 1. Rows are single texts, without BERT's second segment.
Command: python -m train.distill --config configs/minilm_6.py:v2 --config.data.source='text:corpus/*.txt'
Hardware: not run at this size.
Expected: after fine-tuning MNLI-m 83.3, SST-2 91.5, SQuAD 2 F1 75.6 (microsoft/unilm, minilm, L6-H384 of version 1,
    which had a teacher assistant besides). Not run by us.
"""

import ml_collections

from configs import distilbert_base

JOB = "distill"
VARIANTS = ("v1", "v2")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on the built-in corpus, from a random teacher."""
    config = distilbert_base.get_config()
    config.batch_size = 1024
    config.total_steps = 400_000
    config.data.masking = "rows"
    config.data.mask_smoothing = 0.0
    config.data.masked_fraction = 0.0
    config.data.max_predictions = 1
    config.student.init = "random"  # no width is the teacher's
    for name in distilbert_base.LOSSES:
        config.losses[name] = 0.0
    version = "v1" if "v1" in variant else "v2"
    names = {"v1": ("attention", "value"), "v2": ("query", "key", "value")}[version]
    for name in names:
        config.losses[f"{name}_relation"] = 1.0
    config.distill.relation_heads = {"v1": 12, "v2": 48}[version]
    config.model.preset = "bert-base-uncased"
    config.model.num_hidden_layers = 6
    config.model.hidden_size = 384
    config.model.num_attention_heads = 12
    config.model.intermediate_size = 1536
    config.optimizer.warmup_steps = 4_000
    config.optimizer.weight_decay = 0.01
    config.optimizer.b2 = 0.999
    config.optimizer.clip_norm = 1.0
    if "smoke" in variant:
        config = distilbert_base.smoke(config)
        config.model.hidden_size = 24
        config.distill.relation_heads = {"v1": 2, "v2": 4}[version]
    return config
