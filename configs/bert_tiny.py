"""A tiny BERT on the built-in corpus: the teacher of distilbert_tiny.py, in minutes on two CPU cores.

Paper: Devlin et al., 2018, arXiv:1810.04805, without next sentence; the sizes are ours.
Command: python -m train.pretrain --config configs/bert_tiny.py
Hardware: 2 CPU cores.
Expected: held out, masked-word loss 0.633 nats (unigram entropy 4.767), accuracy 87.7%.
"""

import ml_collections

from configs import albert_base, albert_tiny


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds."""
    config = albert_tiny.get_config()
    config.total_steps = 2000
    config.tokenizer = "train:wordpiece:1000"
    config.data.rows = "packed"
    config.data.max_ngram = 1
    config.data.whole_word = False
    config.model.preset = "bert-base-uncased"
    config.model.hidden_act = "gelu"
    config.model.embedding_size = None
    return albert_base.smoke(config) if variant == "smoke" else config
