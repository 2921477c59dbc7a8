"""Questions with an answer in a text: SQuAD 1.1 and 2.0.

Paper: Devlin et al., 2018, arXiv:1810.04805, section 4.2, and google-research/bert run_squad.py (384 tokens, stride
    128); rates and epochs are those of run_squad_w_distillation.py (research_projects/distillation, DistilBERT: three
    epochs, 5e-5, no warm-up; it takes 8 sequences on each GPU, this takes 32). Weight decay (0.01) and eps (1e-6) are
    BERT's; that script has 0 and 1e-8. `configs/squad.py:v2,albert` is ALBERT's (arXiv:1909.11942, Table 14).
Command: python -m train.finetune --config configs/squad.py:v1 --config.init_from=distilbert-base-uncased \
    --config.data.source=files:squad; that paper's second step of distillation adds --config.teacher=SOURCE
    --config.losses.task=0.5 --config.losses.soft_cross_entropy=0.5
Hardware: one accelerator.
Result: not run. DistilBERT's paper: 77.7 EM and 85.8 F1 on 1.1; with the teacher 79.1 and 86.9.
"""

import ml_collections

from configs import _finetuning
from configs._finetuning import Published

JOB = "finetune"
TASK_OPTIONS = "spans"
VARIANTS = ("v1", "v2")
RECIPES = ("albert",)

_ALBERT = {"v1": Published(5e-5, 48, 0.0, 3649, 365, 384), "v2": Published(3e-5, 48, 0.0, 8144, 814)}


def get_config(variant: str = "v1") -> ml_collections.ConfigDict:
    """Returns the experiment of one version."""
    version, *options = variant.split(",")
    config = _finetuning.finetuning(f"squad_{version}")
    config.warmup_fraction = 0.0
    config.optimizer.learning_rate = 5e-5
    config.data.sequence_length = 384
    if "albert" in options:
        if version == "v2":
            config.answers.head = "beam"
        _finetuning.as_published(config, _ALBERT[version])
    return _finetuning.smoke(config) if "smoke" in options else config
