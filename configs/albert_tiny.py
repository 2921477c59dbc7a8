"""A tiny ALBERT on the built-in corpus: from text to a model directory in minutes on two CPU cores.

Paper: Lan et al., 2019, arXiv:1909.11942, for the recipe; the sizes are ours.
Command: python -m train.pretrain --config configs/albert_tiny.py
Hardware: 2 CPU cores, one to four minutes.
Result: held-out masked-LM loss 1.00 nats (unigram entropy 4.767), sentence-order accuracy 90 to 97% (three seeds).
"""

import ml_collections

from configs import _base, _tiny


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _tiny.tiny()
    config.total_steps = 1500
    config.tokenizer = "train:unigram:1000"  # the corpus has some 300 words: a piece for each, and the letters
    config.data.max_ngram = 3
    config.data.whole_word = True
    config.model.preset = "albert-base-v1"
    config.model.hidden_act = "gelu_new"
    config.model.embedding_size = 64
    return _base.smoke(config) if variant == "smoke" else config
