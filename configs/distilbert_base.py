"""DistilBERT-base from BERT-base: six of its layers, taught by its words and its hidden states.

Paper: Sanh et al., 2019, arXiv:1910.01108, section 3; code: huggingface/transformers, research_projects/distillation,
    whose README has the weights 5, 2 and 1 (the paper gives none, and no temperature, which is 2 there). Batches are
    the paper's "up to 4K examples"; the README's own commands make 250 (one GPU) and 1000 (four) of them, 5 rows at a
    time and 50 times on each. The number of steps is ours.
Command: python -m train.distill --config configs/distilbert_base.py --config.data.source='text:corpus/*.txt'
    (`configs/distilbert_base.py:cased` for the cased pair)
Hardware: the paper took 90 hours on 8 V100 for Wikipedia and BookCorpus.
Expected: 97% of BERT's GLUE score (77.0 against 79.5 in the paper's Table 1). Not run by us.
"""

import ml_collections
from ml_collections import config_dict

from configs import albert_base, distilbert_mlm

JOB = "distill"
VARIANTS = ("", "cased")
LOSSES = (
    "soft_cross_entropy",
    "logit_mse",
    "mlm",
    "cosine",
    "hidden_mse",
    "embedding_mse",
    "attention_mse",
    "attention_relation",
    "query_relation",
    "key_relation",
    "value_relation",
    "sentence_mse",
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on the built-in corpus, from a random teacher."""
    config = distilled(distilbert_mlm.get_config())
    case = "cased" if "cased" in variant.split(",") else "uncased"
    config.teacher = f"bert-base-{case}"
    config.model.preset = f"distilbert-base-{case}"
    return smoke(config) if "smoke" in variant else config


def distilled(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Makes a pretraining experiment on packed rows one of distillation, with DistilBERT's losses and schedule."""
    for name in ("rows", "short_seq_prob", "pair_task"):
        del config.data[name]
    config.tokenizer = config_dict.placeholder(str)  # the teacher's
    config.teacher = config_dict.placeholder(str)
    config.trim_vocabulary = False
    config.student = ml_collections.ConfigDict({"init": "teacher", "layers": ()})
    config.losses = ml_collections.ConfigDict(dict.fromkeys(LOSSES, 0.0))
    config.losses.soft_cross_entropy = 5.0
    config.losses.mlm = 2.0
    config.losses.cosine = 1.0
    config.optimizer.decay_from = "peak"
    distill = config.distill = ml_collections.ConfigDict()
    distill.temperature = 2.0
    distill.restrict_ce_to_mask = False
    distill.layer_map = ()
    distill.relation_layers = (-1, -1)
    distill.relation_heads = config_dict.placeholder(int)
    distill.project = False
    distill.teacher_dtype = "auto"
    distill.logit_chunks = 8
    return config


def smoke(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Shrinks a distillation to seconds on a laptop; the teacher is a random one of four layers."""
    config.tokenizer = "train:wordpiece:600"
    config.teacher = "random"
    config = albert_base.smoke(config)
    config.data.max_predictions = 16
    return config
