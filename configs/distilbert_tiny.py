"""A tiny DistilBERT, half as deep as its teacher, which bert_tiny.py trains; both on the built-in corpus.

Paper: Sanh et al., 2019, arXiv:1910.01108, for the losses, their weights and the schedule; the sizes are ours.
    `:logits` replaces the KL divergence by the squared error of the logits (Kim et al., 2021, arXiv:2105.08919), with
    the weight at which both agree at a high temperature: T^2 KL tends to the squared error over 2 V.
Command: python -m train.pretrain --config configs/bert_tiny.py && python -m train.distill \
    --config configs/distilbert_tiny.py
Hardware: 2 CPU cores.
Result: held-out masked-LM loss 0.633 nats against the teacher's 0.631, KL divergence 0.076 from the teacher (one seed).
    With the decay from step 0: 0.636 and 0.078, the same teacher; over three seeds of an earlier teacher 0.635 (0.633
    to 0.637), without a teacher 1.012 after as many steps.
"""

import ml_collections

from configs import _distillation, _tiny

JOB = "distill"
VARIANTS = ("", "logits")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment."""
    config = _tiny.tiny()
    config.teacher = "runs/bert_tiny"
    config.total_steps = 600
    config.eval_every_steps = 200
    config.checkpoint_every_steps = 200
    config.losses = ml_collections.ConfigDict(_distillation.LOSSES)
    config.model.preset = "distilbert-base-uncased"
    config.model.hidden_act = "gelu"
    config.model.num_hidden_layers = 2
    config.optimizer.decay_from = "peak"
    if "logits" in variant:
        config.losses.logit_mse = config.losses.soft_cross_entropy / (2 * 1000)  # V of the teacher's tokenizer
        del config.losses.soft_cross_entropy
    return _distillation.smoke(config) if "smoke" in variant else config
