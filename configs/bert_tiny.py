"""A tiny BERT on the built-in corpus: the teacher of distilbert_tiny.py.

Paper: Devlin et al., 2018, arXiv:1810.04805, without next sentence; the sizes are ours.
Command: python -m train.pretrain --config configs/bert_tiny.py
Hardware: 2 CPU cores, minutes.
Result: held-out masked-LM loss 0.633 nats (unigram entropy 4.767), accuracy 87.7%.
"""

import ml_collections

from configs import _base, _tiny


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _tiny.tiny()
    config.total_steps = 2000
    config.tokenizer = "train:wordpiece:1000"
    config.data.rows = "packed"
    config.model.preset = "bert-base-uncased"
    config.model.hidden_act = "gelu"
    return _base.smoke(config) if variant == "smoke" else config
